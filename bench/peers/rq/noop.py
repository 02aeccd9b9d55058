"""RQ with workers that do not fork for each job, the quickest of its kinds, each with a connection that is kept alive.
Their answers are not kept, which is less work than keeping them."""

import ctypes
import logging
import os
import signal
import sys

import requests
from redis import Redis
from rq import Queue, SimpleWorker

QUEUE = "noop"
BATCH = 1000
PR_SET_PDEATHSIG = 1

session = requests.Session()


def deliver(job):
    answer = session.post(f"{os.environ['ENDPOINT']}/noop/{job}", json={"job": job})
    answer.raise_for_status()


def enqueue(redis, first, count):
    queue = Queue(QUEUE, connection=redis)
    end = first + count
    for batch in range(first, end, BATCH):
        jobs = range(batch, min(batch + BATCH, end))
        queue.enqueue_many(
            [Queue.prepare_data("noop.deliver", (job,), timeout=60, result_ttl=0) for job in jobs]
        )


def work(store, workers):
    logging.disable(logging.CRITICAL)
    children = []
    for _ in range(workers):
        child = os.fork()
        if child == 0:
            # None outlives this process, however it ends: a worker that lost its Redis would look for it for ever.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            worker = SimpleWorker([QUEUE], connection=Redis.from_url(store))
            worker.work(logging_level="CRITICAL")
            os._exit(0)
        children.append(child)

    def end(*_):
        for child in children:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    what, store, *said = sys.argv[1:]
    if what == "enqueue":
        enqueue(Redis.from_url(store), int(said[0]), int(said[1]))
    else:
        os.environ["ENDPOINT"] = said[0]
        work(store, int(said[1]))
