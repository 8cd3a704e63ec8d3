"""The tasks of a Celery application with Kafka as its queue. Their results are files in the folder WORK.

python tasks.py FROM TO: asks a worker for the squares of these numbers and prints them.
"""

import os
import sys

from celery import Celery, group

app = Celery(
    "tasks",
    broker="confluentkafka://" + os.environ["BOOTSTRAP"],
    backend="file://" + os.environ["WORK"] + "/results",
)
app.conf.update(
    task_default_queue=os.environ["QUEUE"],
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    broker_transport_options={"wait_time_seconds": 1, "num_partitions": 1},
)


@app.task(bind=True, max_retries=3)
def square(self, number):
    if number % 10 == 0 and self.request.retries == 0:
        raise self.retry(countdown=0)
    return number * number


if __name__ == "__main__":
    first, last = (int(argument) for argument in sys.argv[1:])
    asked = group(square.s(number) for number in range(first, last + 1)).apply_async()
    print(*asked.get(timeout=60, interval=0.05), sep="\n")
