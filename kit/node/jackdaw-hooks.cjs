// The test hooks of Jackdaw, for tests of applications. Node.js 18 or newer; nothing else is needed.
//
//     jackdaw --ephemeral --http localhost:8080 --test-hooks
//
//     const { Hooks } = require('./jackdaw-hooks.cjs') // or: import { Hooks } from './jackdaw-hooks.cjs'
//     const hooks = new Hooks('http://localhost:8080')
//     await hooks.fail('Produce', 'NOT_LEADER_OR_FOLLOWER', { times: 2, client: 'shop' })
//
// docs/testing.md describes every hook. Times are in milliseconds. The types are in jackdaw-hooks.d.cts.
'use strict'

const http = require('node:http')
const https = require('node:https')
const { performance } = require('node:perf_hooks')

const LONGEST_WAIT = 50_000 // of one call; a longer wait is several calls

/** A hook was refused; the message says why. The status of a deadline that has passed is 408. */
class HookError extends Error {
  constructor(status, why) {
    super(why)
    this.name = 'HookError'
    this.status = status
  }
}

/** The hooks of the broker whose HTTP server has this address. Elsewhere than on localhost it asks for a token. */
class Hooks {
  constructor(url = 'http://localhost:8080', { token } = {}) {
    this.url = url.replace(/\/+$/, '') + '/hooks/'
    this.headers = { 'Content-Type': 'application/json' }
    if (token !== undefined) this.headers.Authorization = `Bearer ${token}`
  }

  // --- faults; `more` has times, client (a client id) and broker (the id of a virtual broker) ---

  /** The next request of the API fails with this error of Kafka, and changes nothing. */
  fail(api, error, more = {}) { return this.inject(api, { error, ...more }) }

  /** The next request of the API waits before it is handled. */
  delay(api, ms, more = {}) { return this.inject(api, { delay_ms: ms, ...more }) }

  /** The next request of the API is handled at once, and answered later. */
  delayAnswer(api, ms, more = {}) { return this.inject(api, { answer_delay_ms: ms, ...more }) }

  /** The connection of the next request is closed: before-request, before-answer or after-answer. */
  cut(api, at = 'before-answer', more = {}) { return this.inject(api, { cut: at, ...more }) }

  /** Adds a fault with the fields that docs/testing.md lists, and returns its number. */
  async inject(api, fields) { return (await this.#call('POST', 'faults', { api, ...fields })).fault }

  /** The faults that are not used up. */
  async faults() { return (await this.#call('GET', 'faults')).faults }

  /** Removes a fault. False if it is used up already. */
  async removeFault(fault) { return (await this.#call('DELETE', `faults/${fault}`)).removed }

  async removeAllFaults() { await this.#call('DELETE', 'faults') }

  /** Waits until a fault has met all of its requests. */
  async waitForFault(fault, timeout) { await this.#wait('wait/fault', { fault }, timeout) }

  // --- actions: what happens to a cluster ---

  /** Makes all members of a group join again. */
  async rebalance(group) { await this.#call('POST', 'rebalance', { group }) }

  /** Ends the session of a member, by its member id, group.instance.id or client id. */
  async expireSession(group, member) { await this.#call('POST', 'expire-session', { group, member }) }

  /** Fences the producer of a transactional id, as another one that starts with the same id does. */
  async fenceProducer(transactionalId) {
    await this.#call('POST', 'fence-producer', { transactional_id: transactionalId })
  }

  /** Aborts the open transaction of a transactional id, as its timeout does. */
  async abortTransaction(transactionalId) {
    await this.#call('POST', 'abort-transaction', { transactional_id: transactionalId })
  }

  /** Stops a virtual broker, also the only one. These hooks stay reachable. */
  async stopBroker(broker) { await this.#call('POST', 'stop-broker', { broker }) }

  /** Starts a virtual broker that was stopped, at its old addresses. */
  async startBroker(broker) { await this.#call('POST', 'start-broker', { broker }) }

  /** Makes a running virtual broker the leader of a partition. */
  async moveLeader(topic, partition, broker) { await this.#call('POST', 'move-leader', { topic, partition, broker }) }

  /** Refuses records as on a full disk. Nothing is written. */
  async fillDisk() { await this.#call('POST', 'fill-disk') }

  async freeDisk() { await this.#call('POST', 'free-disk') }

  /** Turns the broker's clock forward, and ends what is overdue then. */
  async turnClock(ms) { await this.#call('POST', 'turn-clock', { by_ms: ms }) }

  // --- waits ---

  /** Waits until a topic has at least this many records, and returns their number. */
  async waitForRecords(topic, records, timeout) {
    return (await this.#wait('wait/records', { topic, records }, timeout)).records
  }

  /** Waits until a group is in a state and has this many members. */
  async waitForGroup(group, { state = 'Stable', members, timeout } = {}) {
    await this.#wait('wait/group', { group, state, members }, timeout)
  }

  /** Waits until a group has committed the end of the topic, or of all topics that it has committed offsets of. */
  async waitForNoLag(group, { topic, timeout } = {}) { await this.#wait('wait/no-lag', { group, topic }, timeout) }

  // --- the calls ---

  async #wait(path, what, timeout = 10_000) {
    const end = performance.now() + timeout
    for (;;) {
      const left = Math.max(0, Math.ceil(end - performance.now()))
      try {
        return await this.#call('POST', path, { ...what, timeout_ms: Math.min(left, LONGEST_WAIT) })
      } catch (error) {
        if (error.status !== 408 || left <= LONGEST_WAIT) throw error
      }
    }
  }

  #call(method, path, body) {
    const { request } = this.url.startsWith('https:') ? https : http
    const options = {
      method,
      headers: this.headers,
      agent: false, // the broker ends each connection after a minute, so a long wait needs its own
      autoSelectFamily: true, // localhost may be ::1, too, where the broker does not listen
      timeout: LONGEST_WAIT + 10_000,
    }
    return new Promise((resolve, reject) => {
      const call = request(this.url + path, options, (answer) => {
        const parts = []
        answer.on('data', (part) => parts.push(part))
        answer.on('error', reject)
        answer.on('end', () => {
          const text = Buffer.concat(parts).toString()
          let json
          try {
            json = JSON.parse(text)
          } catch {
            json = { error: text.trim() } // of a broker without test hooks
          }
          if (answer.statusCode === 200) resolve(json)
          else reject(new HookError(answer.statusCode, json.error))
        })
      })
      call.on('error', reject)
      call.on('timeout', () => call.destroy(new Error(`${this.url} does not answer`)))
      call.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }
}

module.exports = { Hooks, HookError }
