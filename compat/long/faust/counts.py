"""A Faust application that counts words from topic to topic. Its table has a changelog topic, its words are repartitioned.

It takes BOOTSTRAP, PREFIX and WORK from the environment.
"""

import os

import faust

prefix = os.environ["PREFIX"]

app = faust.App(
    prefix + "counts",
    broker="kafka://" + os.environ["BOOTSTRAP"],
    datadir=os.environ["WORK"] + "/faust",
    store="memory://",
    topic_partitions=2,
    topic_replication_factor=1,
)
words = app.topic(prefix + "words", value_type=str, value_serializer="raw")
counted = app.topic(prefix + "counted", key_type=str, key_serializer="raw", value_type=int, value_serializer="json")
counts = app.Table("seen", default=int, key_type=str)


@app.agent(words)
async def count(stream):
    async for word in stream.group_by(lambda word: word, name="word"):
        counts[word] += 1
        await counted.send(key=word, value=counts[word])


app.main()
