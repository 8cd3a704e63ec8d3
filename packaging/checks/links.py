"""packaging/check runs this with a folder: every link of the pages in it leads to a file or a folder in it."""

import re
import sys
from pathlib import Path

folder = Path(sys.argv[1]).resolve()
pages = sorted(folder.rglob("*.md"))
assert folder / "README.md" in pages, f"{folder} has no README.md"
dead = []
for page in pages:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target = (page.parent / link.split("#")[0]).resolve()
        if not re.match(r"[a-z]+:", link) and not (target.is_relative_to(folder) and target.exists()):
            dead.append(f"{page.relative_to(folder)}: {link}")
print(f"{len(pages)} pages")
sys.exit("\n".join(dead) or None)
