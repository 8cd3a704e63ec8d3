"""The test hooks of Jackdaw, for tests of applications. Python 3.8 or newer; nothing else is needed.

    jackdaw --ephemeral --http localhost:8080 --test-hooks

    from jackdaw_hooks import Hooks
    hooks = Hooks('http://localhost:8080')
    hooks.fail('Produce', 'NOT_LEADER_OR_FOLLOWER', times=2, client='shop')

docs/testing.md describes every hook.
"""

import json
import time
import urllib.error
import urllib.request

_LONGEST_WAIT = 50  # seconds of one call; a longer wait is several calls


class HookError(Exception):
    """A hook was refused. The text says why."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Hooks:
    """The hooks of the broker whose HTTP server has this address. Elsewhere than on localhost it asks for a token."""

    def __init__(self, url='http://localhost:8080', token=None):
        self._url = url.rstrip('/') + '/hooks/'
        self._headers = {'Content-Type': 'application/json'}
        if token is not None:
            self._headers['Authorization'] = 'Bearer ' + token
        # The variables for proxies do not count: the broker is close.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    # --- faults ---

    def fail(self, api, error, **more):
        """The next request of the API fails with this error of Kafka, and changes nothing. `more` is that of `inject`."""
        return self.inject(api, error=error, **more)

    def delay(self, api, seconds, **more):
        """The next request of the API waits before it is handled."""
        return self.inject(api, delay=seconds, **more)

    def delay_answer(self, api, seconds, **more):
        """The next request of the API is handled at once, and answered later."""
        return self.inject(api, answer_delay=seconds, **more)

    def cut(self, api, at='before-answer', **more):
        """The connection of the next request is closed: before-request, before-answer or after-answer."""
        return self.inject(api, cut=at, **more)

    def inject(self, api, *, times=1, client=None, broker=None, error=None, delay=0, answer_delay=0, cut=None):
        """Adds a fault for the next `times` requests of an API, by its name in Kafka, and returns its number. `client` is a
        client id and `broker` the id of a virtual broker; without them the fault is for all. Delays are in seconds."""
        fault = {'api': api, 'times': times, 'client': client, 'broker': broker, 'error': error,
                 'delay_ms': round(delay * 1000), 'answer_delay_ms': round(answer_delay * 1000), 'cut': cut}
        return self._call('POST', 'faults', fault)['fault']

    def faults(self):
        """The faults that are not used up."""
        return self._call('GET', 'faults')['faults']

    def remove_fault(self, fault):
        """Removes a fault. False if it is used up already."""
        return self._call('DELETE', 'faults/%d' % fault)['removed']

    def remove_all_faults(self):
        self._call('DELETE', 'faults')

    def wait_for_fault(self, fault, timeout=10):
        """Waits until a fault has met all of its requests."""
        self._wait('wait/fault', {'fault': fault}, timeout)

    # --- actions: what happens to a cluster ---

    def rebalance(self, group):
        """Makes all members of a group join again."""
        self._call('POST', 'rebalance', {'group': group})

    def expire_session(self, group, member):
        """Ends the session of a member, by its member id, group.instance.id or client id."""
        self._call('POST', 'expire-session', {'group': group, 'member': member})

    def fence_producer(self, transactional_id):
        """Fences the producer of a transactional id, as another one that starts with the same id does."""
        self._call('POST', 'fence-producer', {'transactional_id': transactional_id})

    def abort_transaction(self, transactional_id):
        """Aborts the open transaction of a transactional id, as its timeout does."""
        self._call('POST', 'abort-transaction', {'transactional_id': transactional_id})

    def stop_broker(self, broker):
        """Stops a virtual broker, also the only one. These hooks stay reachable."""
        self._call('POST', 'stop-broker', {'broker': broker})

    def start_broker(self, broker):
        """Starts a virtual broker that was stopped, at its old addresses."""
        self._call('POST', 'start-broker', {'broker': broker})

    def move_leader(self, topic, partition, broker):
        """Makes a running virtual broker the leader of a partition."""
        self._call('POST', 'move-leader', {'topic': topic, 'partition': partition, 'broker': broker})

    def fill_disk(self):
        """Refuses records as on a full disk. Nothing is written."""
        self._call('POST', 'fill-disk')

    def free_disk(self):
        self._call('POST', 'free-disk')

    def turn_clock(self, seconds):
        """Turns the broker's clock forward, and ends what is overdue then."""
        self._call('POST', 'turn-clock', {'by_ms': round(seconds * 1000)})

    # --- waits; TimeoutError says what is there instead ---

    def wait_for_records(self, topic, records, timeout=10):
        """Waits until a topic has at least this many records, and returns their number."""
        return self._wait('wait/records', {'topic': topic, 'records': records}, timeout)['records']

    def wait_for_group(self, group, state='Stable', members=None, timeout=10):
        """Waits until a group is in a state and has this many members."""
        self._wait('wait/group', {'group': group, 'state': state, 'members': members}, timeout)

    def wait_for_no_lag(self, group, topic=None, timeout=10):
        """Waits until a group has committed the end of the topic, or of all topics that it has committed offsets of."""
        self._wait('wait/no-lag', {'group': group, 'topic': topic}, timeout)

    # --- the calls ---

    def _wait(self, path, what, timeout):
        end = time.monotonic() + timeout
        while True:
            left = max(0, end - time.monotonic())
            try:
                return self._call('POST', path, {**what, 'timeout_ms': round(min(left, _LONGEST_WAIT) * 1000)})
            except TimeoutError:
                if left <= _LONGEST_WAIT:
                    raise

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)
        try:
            with self._opener.open(request, timeout=_LONGEST_WAIT + 10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors='replace')
            try:
                why = json.loads(text)['error']
            except (ValueError, KeyError, TypeError):
                why = text.strip()  # of a broker without test hooks
            if error.code == 408:
                raise TimeoutError(why) from None
            raise HookError(error.code, why) from None
