"""A FastStream application that turns the orders of one topic into bills in another. Its first attempt at order 7 fails.

orders.py BOOTSTRAP ORDERS BILLS GROUP COUNT: ends when COUNT orders have been handled.
"""

import asyncio
import sys

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from pydantic import BaseModel

bootstrap, orders, bills, group, count = sys.argv[1:]


class Order(BaseModel):
    id: int
    items: list[str]


class Bill(BaseModel):
    order: int
    cents: int


broker = KafkaBroker(bootstrap, enable_idempotence=True, acks="all", graceful_timeout=30)
app = FastStream(broker)
publisher = broker.publisher(bills, schema=Bill)
seen, done = set(), []


@broker.subscriber(orders, group_id=group, auto_offset_reset="earliest", ack_policy=AckPolicy.NACK_ON_ERROR)
async def handle(order: Order, message: KafkaMessage) -> None:
    first = order.id not in seen
    seen.add(order.id)
    if order.id == 7 and first:
        raise RuntimeError("order 7 fails the first time")
    bill = Bill(order=order.id, cents=250 * len(order.items))
    await publisher.publish(bill, key=str(order.id).encode(), correlation_id=message.correlation_id)
    done.append(order.id)
    if len(done) == int(count):
        print(f"handled {done[0]} to {done[-1]}")
        app.exit()


asyncio.run(app.run())
