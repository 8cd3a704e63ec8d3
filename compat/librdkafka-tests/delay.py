"""A relay that delays answers: delay.py HOST:PORT… prints the address of a relay for each, and serves until it is killed.

librdkafka 2.15 does not expect that its first call of SSL_connect gets as far as the certificate of the broker. If its check then
fails, it reports _TRANSPORT instead of _SSL. Jackdaw answers that fast on the loopback.
"""

import socket
import sys
import threading
import time

DELAY = 0.01  # seconds


def copy(source, sink, delay):
    try:
        while data := source.recv(65536):
            time.sleep(delay)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        sink.close()


def serve(listener, target):
    while True:
        client, _ = listener.accept()
        broker = socket.create_connection(target)
        threading.Thread(target=copy, args=(client, broker, 0), daemon=True).start()
        threading.Thread(target=copy, args=(broker, client, DELAY), daemon=True).start()


threads = []
for address in sys.argv[1:]:
    host, port = address.rsplit(':', 1)
    listener = socket.create_server(('127.0.0.1', 0))
    print(f'127.0.0.1:{listener.getsockname()[1]}', flush=True)
    threads.append(threading.Thread(target=serve, args=(listener, (host, int(port)))))
    threads[-1].start()
for thread in threads:
    thread.join()
