"""The state of the machine: whether it is quiet, the time of a disk sync, the resources of a process."""

import ctypes
import fcntl
import mmap
import os
import pathlib
import platform
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
SPLICE_F_NONBLOCK = 2
TICK = os.sysconf("SC_CLK_TCK")


def describe():
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    memory = int(open("/proc/meminfo").readline().split()[1]) // (1 << 20)
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} × {cpu}, {memory} GiB, Linux {platform.release()}, "
        f"load {os.getloadavg()[0]:.1f}, pressure {pressure()}\n"
    )


def pressure():
    try:
        return open("/proc/pressure/cpu").readline().split()[1].split("=")[1]
    except OSError:
        return "unknown"


def waits():
    """Seconds so far in which some process waited for a core. The kernel's averages would include the previous run."""
    try:
        return int(open("/proc/pressure/cpu").readline().split("total=")[1]) / 1e6
    except OSError:
        return 0.0


def busy():
    """Ticks in which cores were not idle."""
    fields = [int(f) for f in open("/proc/stat").readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4]


def wait_until_quiet(at_most):
    """True after three quiet seconds; False if there were none in time."""
    give_up = time.monotonic() + at_most
    while True:
        before, waited, started, widest = busy(), waits(), time.monotonic(), 0.0
        last = started
        while (now := time.monotonic()) < started + 3:  # a spin loop notices when another process takes its core
            widest = max(widest, now - last)
            last = now
        others = (busy() - before) / TICK - 3
        calm = waits() - waited < 0.02 * 3
        if others < 0.03 * 3 * os.cpu_count() and calm and widest < 0.002:
            return True
        if time.monotonic() > give_up:
            return False
        time.sleep(2)


class keep_warm:
    """Makes all free memory warm, for as long as this object exists. The host takes back free memory in pieces of 2 MiB,
    and the process that touches such a piece next pays several times the cost of the write. So this touches all free
    memory and frees it again, except one page of each MiB. These pages are held in pipes: otherwise the kernel would move
    them together."""

    PIECE = 1 << 20

    def __init__(self):
        free = int(open("/proc/meminfo").read().split("MemFree:")[1].split()[0]) << 10
        length = max(free - (1 << 30), self.PIECE) // self.PIECE * self.PIECE
        self.memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_NOHUGEPAGE)
        self.pipes = []
        for at in range(0, length, self.PIECE):
            self.memory[at:at + self.PIECE] = bytes(self.PIECE)
        for at in range(0, length, self.PIECE):
            self.pin(at)
            self.memory.madvise(mmap.MADV_DONTNEED, at + mmap.PAGESIZE, self.PIECE - mmap.PAGESIZE)

    def pin(self, at):
        """Puts a page into the last pipe, or into a new one if that is full."""
        page = ctypes.c_char.from_buffer(self.memory, at)
        part = (ctypes.c_size_t * 2)(ctypes.addressof(page), mmap.PAGESIZE)  # a struct iovec
        if not self.pipes or LIBC.vmsplice(self.pipes[-1][1], part, 1, SPLICE_F_NONBLOCK) != mmap.PAGESIZE:
            self.pipes.append(os.pipe())
            fcntl.fcntl(self.pipes[-1][1], fcntl.F_SETPIPE_SZ, 1 << 20)
            if LIBC.vmsplice(self.pipes[-1][1], part, 1, SPLICE_F_NONBLOCK) != mmap.PAGESIZE:
                raise OSError(ctypes.get_errno(), "vmsplice")


def fdatasync_p50(folder, core, rate=None):
    """Median of a 4 KiB write and fdatasync on blocks already written, in microseconds: one directly after the other, or
    `rate` a second. An ack at that rate waits for the second kind, because core and disk go idle between two syncs."""
    path = pathlib.Path(folder) / "sync"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(file, bytes(1 << 20), 0)
    os.fsync(file)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(core)})
    times = []
    next_one = time.monotonic()
    for round in range(2000):
        if rate:
            next_one += 1 / rate
            time.sleep(max(0, next_one - time.monotonic()))
        started = time.perf_counter_ns()
        os.pwrite(file, bytes(4096), 4096 * (round % 256))
        os.fdatasync(file)
        times.append((time.perf_counter_ns() - started) / 1000)
    os.sched_setaffinity(0, before)
    os.close(file)
    path.unlink()
    return percentile(times, 50)


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Process:
    """The resources of one process."""

    def __init__(self, pid):
        self.folder = pathlib.Path(f"/proc/{pid}")

    def memory(self, name="VmRSS"):
        """MiB; `VmHWM` is the peak."""
        for line in (self.folder / "status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu(self):
        """Seconds of all threads, including ended ones."""
        fields = (self.folder / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def switches(self):
        """How often a thread went to sleep, and so had to be woken."""
        total = 0
        for task in (self.folder / "task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
        return total

    def descriptors(self):
        return len(list((self.folder / "fd").iterdir()))


def run(command, **more):
    return subprocess.run([str(part) for part in command], check=True, **more)


def written(path):
    """Bytes written to the device of `path`, after a sync of everything that waited to be written."""
    os.sync()
    device = os.stat(path).st_dev
    stat = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(stat[6]) * 512
