"""A Quix Streams application that counts words from topic to topic, exactly once. Its state has a changelog topic.

counts.py BOOTSTRAP FROM TO GROUP STATE COUNT: ends when COUNT words have been counted.
"""

import sys

from quixstreams import Application

bootstrap, source, sink, group, state, count = sys.argv[1:]

app = Application(
    broker_address=bootstrap,
    consumer_group=group,
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_every=100,
    state_dir=state,
    loglevel="WARNING",
)
words = app.topic(source, key_deserializer="str", value_deserializer="str")
counts = app.topic(sink, key_serializer="str", value_serializer="json")


def one_more(word, state):
    seen = state.get("seen", 0) + 1
    state.set("seen", seen)
    return {"word": word, "seen": seen}


by_word = app.dataframe(words).group_by(lambda word: word, name="word", key_serializer="str", key_deserializer="str")
by_word.apply(one_more, stateful=True).to_topic(counts)
app.run(count=int(count))
