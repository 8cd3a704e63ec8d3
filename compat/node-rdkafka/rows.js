// The rows of the matrix with node-rdkafka, in the way its users write it. each.js calls it for each of them.
'use strict'

const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const crypto = require('node:crypto')
const rdkafka = require('node-rdkafka')
const { play, secured, Arrivals, NotInThisClient } = require('../play.js')
const { CODES } = rdkafka

const { BOOTSTRAP, SASL_BOOTSTRAP, SASL_USER, SASL_PASSWORD, PREFIX } = process.env
const TIMEOUT = 60_000 // milliseconds for one request
const BEGINNING = -2
const END = -1
const broker = { 'metadata.broker.list': BOOTSTRAP, 'client.id': 'matrix' }
const admin = rdkafka.AdminClient.create(broker)

// call(OBJECT, METHOD, ARGUMENT…): a promise of the value that the method passes to its callback.
const call = (object, method, ...args) =>
  new Promise((resolve, reject) => object[method](...args, (error, value) => (error ? reject(error) : resolve(value))))

async function rejects(promise, code) {
  const error = await promise.then(() => assert.fail(`this succeeded, instead of ${code}`), e => e)
  if (error.code !== code) throw error
  return error
}

async function makeTopic(name, num_partitions = 1) {
  const topic = PREFIX + name
  await call(admin, 'createTopic', { topic, num_partitions, replication_factor: 1 }, TIMEOUT)
  await seen(topic, num_partitions)
  return topic
}

// seen(TOPIC, N): the metadata, once the topic has n partitions in it, or is missing for n = 0. Kafka may need a moment,
// and a consumer that did not find its topic checks again only after minutes.
async function seen(topic, n) {
  const consumer = new rdkafka.KafkaConsumer({ ...broker, 'group.id': PREFIX + 'nobody' }, {})
  await call(consumer, 'connect', { timeout: TIMEOUT })
  for (;;) {
    const all = await call(consumer, 'getMetadata', { timeout: TIMEOUT })
    const found = all.topics.find(t => t.name === topic)
    if ((found?.partitions.length ?? 0) !== n) continue
    await call(consumer, 'disconnect')
    return { ...all, topic: found }
  }
}

// --- producing and consuming ---

// connecting(KIND, SETTINGS, MORE…): a producer or a consumer, which shows the token among the settings if there is one.
function connecting(Kind, { token, ...settings }, ...more) {
  const client = new Kind(settings, ...more)
  return token ? client.setOauthBearerToken(token) : client
}

async function withProducer(options, use) {
  const producer = connecting(rdkafka.HighLevelProducer, { ...broker, ...options })
  await call(producer, 'connect', { timeout: TIMEOUT })
  producer.setPollInterval(20)
  try {
    return await use(producer)
  } finally {
    // The binding does not protect its poll from the thread that frees the producer: it would crash.
    producer.setPollInterval(0)
    await call(producer, 'disconnect', TIMEOUT)
  }
}

// send(PRODUCER, TOPIC, MESSAGES): the offsets of the messages, once all are acknowledged.
const send = (producer, topic, messages) =>
  Promise.all(messages.map(({ value, key = null, timestamp = null, headers = [], partition = 0 }) =>
    call(producer, 'produce', topic, partition, value, key, timestamp, headers)))
const produce = (topic, messages, options = {}) => withProducer(options, producer => send(producer, topic, messages))

// numbers(START, N, PARTITION): n messages whose values are consecutive numbers.
const numbers = (start, n, partition = 0) =>
  Array.from({ length: n }, (_, i) => ({ value: Buffer.from(String(start + i)), partition }))
const texts = messages => messages.map(({ value }) => String(value))

// A consumer for the rows: its messages, the ends that it reached, its errors, the partitions that it owned in turn, and
// those that rebalances assigned and revoked, if it has a rebalance callback.
class Reader {
  messages = new Arrivals()
  ends = new Arrivals()
  errors = new Arrivals()
  owned = new Arrivals()
  given = []
  taken = []

  static async start({ group = PREFIX + 'nobody', topic, at, partition = 0, told = false, global, topicConfig }) {
    const reader = new Reader()
    reader.told = told
    const consumer = (reader.consumer = connecting(
      rdkafka.KafkaConsumer,
      { ...broker, 'group.id': group, 'enable.auto.commit': false, 'enable.partition.eof': true, ...(told && { rebalance_cb: true }), ...global },
      { 'auto.offset.reset': 'earliest', ...topicConfig },
    ))
    consumer.on('data', message => reader.messages.push(message))
    consumer.on('partition.eof', end => reader.ends.push(end))
    consumer.on('rebalance.error', error => reader.errors.push(error))
    consumer.on('rebalance', ({ code }, partitions) => {
      const moved = code === CODES.ERRORS.ERR__ASSIGN_PARTITIONS ? reader.given : reader.taken
      moved.push(...partitions.map(p => p.partition))
    })
    await call(consumer, 'connect', { timeout: TIMEOUT })
    consumer.setDefaultConsumeTimeout(100)
    if (at === undefined) consumer.subscribe([topic])
    else consumer.assign([{ topic, partition, offset: at }])
    reader.running = reader.run()
    return reader
  }
  async run() {
    while (!this.stopping) {
      await call(this.consumer, 'consume', 1000).catch(error => this.errors.push(error))
      const now = this.consumer.assignments().map(p => p.partition).sort()
      if (String(now) !== String(this.now)) this.owned.push(now)
    }
  }
  has(...partitions) {
    return this.owned.until(all => String(all.at(-1)) === String(partitions), `the partitions ${partitions}`)
  }
  hasSome(n) {
    return this.owned.until(all => all.at(-1)?.length === n, `${n} partitions`)
  }
  get now() {
    return this.owned.all.at(-1) ?? []
  }
  async stop() {
    if (this.told) {
      // The binding handles a rebalance on another thread than the one that frees the consumer, so there must be none then.
      this.consumer.unsubscribe()
      await this.has()
    }
    this.stopping = true
    await this.running
    await call(this.consumer, 'disconnect')
  }
}

// read(TOPIC, AT): all messages from an offset to the end of a partition.
async function read(topic, at = BEGINNING, more = {}) {
  const reader = await Reader.start({ topic, at, ...more })
  await reader.ends.count(1)
  await reader.stop()
  return reader.messages.all
}

// --- the rows ---

// node-rdkafka does not show the controller.
async function metadata() {
  const topic = await makeTopic('metadata', 3)
  const found = await seen(topic, 3)
  assert.equal(found.brokers.length, 1)
  const [{ id, port }] = found.brokers
  assert.equal(port, Number(BOOTSTRAP.split(':').at(-1)))
  assert.deepEqual(found.topic.partitions.map(p => p.id).sort(), [0, 1, 2])
  for (const { leader, replicas, isrs } of found.topic.partitions) assert.deepEqual([leader, replicas, isrs], [id, [id], [id]])
}

async function topics() {
  const topic = await makeTopic('topics', 2)
  await rejects(makeTopic('topics'), CODES.ERRORS.ERR_TOPIC_ALREADY_EXISTS)
  await rejects(makeTopic('no/slashes'), CODES.ERRORS.ERR_TOPIC_EXCEPTION)
  await call(admin, 'deleteTopic', topic, TIMEOUT)
  await seen(topic, 0)
  await rejects(call(admin, 'deleteTopic', topic, TIMEOUT), CODES.ERRORS.ERR_UNKNOWN_TOPIC_OR_PART)
}

async function partitions() {
  const topic = await makeTopic('partitions')
  await produce(topic, [{ value: Buffer.from('old') }])
  await call(admin, 'createPartitions', topic, 3, TIMEOUT)
  await seen(topic, 3)
  await rejects(call(admin, 'createPartitions', topic, 2, TIMEOUT), CODES.ERRORS.ERR_INVALID_PARTITIONS)
  await produce(topic, [{ value: Buffer.from('new'), partition: 2 }])
  const each = await Promise.all([0, 1, 2].map(partition => read(topic, BEGINNING, { partition })))
  assert.deepEqual(each.map(texts), [['old'], [], ['new']])
}

async function codecs() {
  const topic = await makeTopic('codecs')
  const sent = []
  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    for (const acks of [1, -1, 0]) {
      const messages = Array.from({ length: 200 }, (_, i) => ({ value: Buffer.from(`${codec} ${acks} ${i} `.repeat(5)) }))
      const offsets = await produce(topic, messages, { 'compression.codec': codec, acks, 'linger.ms': 20 })
      if (acks !== 0) assert.deepEqual(offsets, messages.map((_, i) => sent.length + i))
      sent.push(...texts(messages))
      // With acks=0 the producer does not wait: the next one starts when all messages have arrived.
      if (acks === 0) {
        const reader = await Reader.start({ topic, at: BEGINNING })
        await reader.messages.count(sent.length)
        await reader.stop()
      }
    }
  }
  assert.deepEqual(texts(await read(topic)), sent)
}

async function values() {
  const topic = await makeTopic('values')
  const bytes = Buffer.from([0, 255, 128, 10])
  // The binding sends an empty buffer without memory as null.
  const empty = Buffer.from('.').subarray(0, 0)
  const timestamp = Date.now() - 12_345
  await produce(topic, [
    { key: 'key', value: bytes, timestamp, headers: [{ b: '2' }, { a: '1' }, { a: '3' }, { empty: '' }] },
    { value: Buffer.from('no key') },
    { key: 'deleted', value: null },
    { key: '', value: empty },
  ])
  const got = await read(topic)
  assert.deepEqual(got.map(m => m.offset), [0, 1, 2, 3])
  assert.deepEqual(got.map(m => m.key && String(m.key)), ['key', null, 'deleted', ''])
  assert.deepEqual(got[0].value, bytes)
  assert.deepEqual(got.slice(1).map(m => m.value && String(m.value)), ['no key', null, ''])
  assert.equal(got[0].timestamp, timestamp)
  const headers = got[0].headers.map(h => Object.entries(h)[0]).map(([name, value]) => [name, String(value)])
  assert.deepEqual(headers, [['b', '2'], ['a', '1'], ['a', '3'], ['empty', '']])
}

async function large() {
  const topic = await makeTopic('large')
  const options = { 'message.max.bytes': 3_000_000 }
  const value = crypto.randomBytes(1_000_000)
  await produce(topic, [{ value }], options)
  // A delivery report has its error only as text.
  await assert.rejects(produce(topic, [{ value: crypto.randomBytes(1_500_000) }], options), { message: 'message size too large' })
  assert.deepEqual(await produce(topic, [{ value: Buffer.from('small') }]), [1])
  const got = await read(topic)
  assert.equal(got.length, 2)
  assert.ok(value.equals(got[0].value))
  assert.equal(String(got[1].value), 'small')
}

async function fetch() {
  const topic = await makeTopic('fetch')
  const start = Date.now() - 1_000_000
  await produce(topic, numbers(0, 100).map((m, i) => ({ ...m, timestamp: start + i * 1000 })))
  const all = texts(numbers(0, 100))
  const reader = await Reader.start({ topic, at: END })
  await reader.ends.count(1)
  const marks = await call(reader.consumer, 'queryWatermarkOffsets', topic, 0, TIMEOUT)
  assert.deepEqual([marks.lowOffset, marks.highOffset], [0, 100])
  const [stamped] = await call(reader.consumer, 'offsetsForTimes', [{ topic, partition: 0, offset: start + 69_500 }], TIMEOUT)
  assert.equal(stamped.offset, 70)
  for (const [at, from] of [[BEGINNING, 0], [40, 40], [stamped.offset, 70], [END, 100]])
    assert.deepEqual(texts(await read(topic, at)), all.slice(from))
  await produce(topic, [{ value: Buffer.from('later') }])
  await reader.messages.count(1)
  await reader.stop()
  assert.deepEqual(texts(reader.messages.all), ['later'])
}

async function range() {
  const topic = await makeTopic('range')
  await produce(topic, numbers(0, 3))
  const reset = to => ({ topicConfig: { 'auto.offset.reset': to } })
  assert.deepEqual(texts(await read(topic, 99, reset('earliest'))), ['0', '1', '2'])
  assert.deepEqual(texts(await read(topic, 99, reset('latest'))), [])
  const reader = await Reader.start({ topic, at: 99, ...reset('error') })
  const isIt = e => e.code === CODES.ERRORS.ERR__AUTO_OFFSET_RESET
  await reader.errors.until(all => all.some(isIt), 'the error of the reset')
  await reader.stop()
}

// Two members share a topic with four partitions, and the second has all after the first has left. The second remains.
async function share(topic, global = {}) {
  const start = () => Reader.start({ topic, group: topic, told: true, global })
  const one = await start()
  await one.has(0, 1, 2, 3)
  const two = await start()
  await Promise.all([two.hasSome(2), one.hasSome(2)])
  assert.deepEqual([...one.now, ...two.now].sort(), [0, 1, 2, 3])
  await produce(topic, [0, 1, 2, 3].flatMap(partition => numbers(partition, 1, partition)))
  for (const reader of [one, two]) {
    await reader.messages.count(2)
    assert.deepEqual(reader.messages.all.map(m => m.partition).sort(), reader.now)
    reader.consumer.commitSync(reader.messages.all.map(m => ({ topic, partition: m.partition, offset: m.offset + 1 })))
  }
  return [one, two]
}

async function takeOver([one, two], topic) {
  await one.stop()
  await two.has(0, 1, 2, 3)
  await produce(topic, [0, 1, 2, 3].flatMap(partition => numbers(10, 1, partition)))
  await two.messages.until(all => all.filter(m => String(m.value) === '10').length === 4, 'the rest of the partitions')
  assert.equal(two.messages.all.length, 6, 'nothing twice')
  await two.stop()
}

async function group() {
  const topic = await makeTopic('group', 4)
  await takeOver(await share(topic), topic)
}

async function cooperative() {
  const topic = await makeTopic('cooperative', 4)
  const both = await share(topic, { 'partition.assignment.strategy': 'cooperative-sticky' })
  assert.equal(both[0].taken.length, 2, 'only what must move')
  assert.deepEqual(both[0].taken.sort(), both[1].now)
  await takeOver(both, topic)
}

async function newProtocol() {
  const topic = await makeTopic('kip-848', 4)
  await takeOver(await share(topic, { 'group.protocol': 'consumer' }), topic)
}

async function staticMembers() {
  const topic = await makeTopic('static', 4)
  const start = (name, told) =>
    Reader.start({ topic, group: topic, told, global: { 'group.instance.id': name, 'session.timeout.ms': 45_000 } })
  // A reader with a rebalance callback unsubscribes before it ends, and a static member would leave. So the first has none.
  const [one, two] = await Promise.all([start('one', false), start('two', true)])
  await Promise.all([one.hasSome(2), two.hasSome(2)])
  const moves = () => two.given.length + two.taken.length
  const [had, before] = [one.now, moves()]
  await one.stop()
  const again = await start('one', false)
  await again.has(...had)
  // A commit with an older generation would be refused.
  two.consumer.commitSync([{ topic, partition: two.now[0], offset: 0 }])
  assert.equal(moves(), before, 'no rebalance')
  await Promise.all([again.stop(), two.stop()])
}

// take(TOPIC, GROUP, N): n messages for a group, which commits them.
async function take(topic, group, n) {
  const reader = await Reader.start({ topic, group })
  const got = (await reader.messages.count(n)).slice(0, n)
  reader.consumer.commitSync([{ topic, partition: 0, offset: got.at(-1).offset + 1 }])
  const [{ offset }] = await call(reader.consumer, 'committed', [{ topic, partition: 0 }], TIMEOUT)
  assert.equal(offset, got.at(-1).offset + 1)
  await reader.stop()
  return texts(got)
}

async function resume() {
  const topic = await makeTopic('resume')
  await produce(topic, numbers(0, 10))
  assert.deepEqual(await take(topic, topic, 6), texts(numbers(0, 6)))
  await produce(topic, numbers(10, 5))
  assert.deepEqual(await take(topic, topic, 9), texts(numbers(6, 9)))
  assert.deepEqual(await take(topic, topic + '-other', 15), texts(numbers(0, 15)))
}

async function idempotent() {
  const topic = await makeTopic('idempotent')
  await produce(topic, numbers(0, 5000), { 'enable.idempotence': true, 'batch.num.messages': 50 })
  assert.deepEqual(texts(await read(topic)), texts(numbers(0, 5000)))
}

async function transactions() {
  const [topic, source] = [await makeTopic('transactions'), await makeTopic('transactions-source')]
  await produce(source, numbers(0, 7))
  const reader = await Reader.start({ topic: source, group: source, at: BEGINNING })
  await withProducer({ 'transactional.id': topic }, async producer => {
    await call(producer, 'initTransactions', TIMEOUT)
    for (const [value, offset, end] of [['kept', 4, 'commitTransaction'], ['dropped', 6, 'abortTransaction'], ['more', 5, 'commitTransaction']]) {
      await call(producer, 'beginTransaction')
      await send(producer, topic, [{ value: Buffer.from(value) }])
      await call(producer, 'sendOffsetsToTransaction', [{ topic: source, partition: 0, offset }], reader.consumer, TIMEOUT)
      await call(producer, end, TIMEOUT)
    }
  })
  const level = to => ({ global: { 'isolation.level': to } })
  assert.deepEqual(texts(await read(topic, BEGINNING, level('read_committed'))), ['kept', 'more'])
  assert.deepEqual(texts(await read(topic, BEGINNING, level('read_uncommitted'))), ['kept', 'dropped', 'more'])
  const [{ offset }] = await call(reader.consumer, 'committed', [{ topic: source, partition: 0 }], TIMEOUT)
  assert.equal(offset, 5)
  await reader.stop()
}

// The settings of a client of the secured broker.
const inside = ({ listener, ca, cert, key, username, password, token }) => ({
  'metadata.broker.list': listener,
  'security.protocol': username || token ? 'sasl_ssl' : 'ssl',
  'ssl.ca.location': ca,
  ...(cert && { 'ssl.certificate.location': cert, 'ssl.key.location': key }),
  ...(username && { 'sasl.mechanism': 'SCRAM-SHA-256', 'sasl.username': username, 'sasl.password': password }),
  ...(token && { 'sasl.mechanism': 'OAUTHBEARER', token }),
})

// node-rdkafka has no calls for ACLs, so Jackdaw's command makes them. BOOTSTRAP is of a super user.
async function aclsEnforced() {
  const topic = await makeTopic('acls-enforced')
  await produce(topic, [{ value: Buffer.from('1') }])
  const acl = (verb, resource, operation, who = 'allow') => {
    const command = ['acl', verb, '--bootstrap', BOOTSTRAP, `--${resource}`, topic, `--${who}-principal`, `User:${process.env.ACL_USER}`]
    execFileSync(process.env.JACKDAW, [...command, '--operation', operation], { stdio: ['ignore', 'ignore', 'inherit'] })
  }
  const user = inside(secured.user('ACL'))
  // A delivery report has its error only as text.
  const refusedWrite = () =>
    assert.rejects(produce(topic, [{ value: Buffer.from('x') }], user), { message: /topic authorization failed/i })
  const write = () => produce(topic, [{ value: Buffer.from('2') }], user)
  const refusedRead = async (code, more) => {
    const reader = await Reader.start({ topic, global: user, ...more })
    await reader.errors.until(all => all.some(e => e.code === code), `the error ${code}`)
    await reader.stop()
  }

  await refusedWrite()
  acl('add', 'topic', 'describe')
  await refusedRead(CODES.ERRORS.ERR_TOPIC_AUTHORIZATION_FAILED, { at: BEGINNING })
  acl('add', 'topic', 'read')
  assert.deepEqual(texts(await read(topic, BEGINNING, { global: user })), ['1'])
  await refusedRead(CODES.ERRORS.ERR_GROUP_AUTHORIZATION_FAILED, { group: topic })
  acl('add', 'group', 'read')
  const member = await Reader.start({ topic, group: topic, global: user })
  await member.messages.count(1)
  member.consumer.commitSync([{ topic, partition: 0, offset: 1 }])
  await member.stop()
  await refusedWrite()
  acl('add', 'topic', 'write')
  assert.deepEqual(await write(), [1])
  acl('add', 'topic', 'write', 'deny')
  await refusedWrite()
  acl('remove', 'topic', 'write', 'deny')
  assert.deepEqual(await write(), [2])
  acl('remove', 'topic', 'write')
  await refusedWrite()
}

async function tls() {
  const topic = await makeTopic('tls')
  const sent = []
  for (const access of [secured.plain, secured.certified, secured.user('SASL')]) {
    const settings = inside(access)
    await produce(topic, [{ value: Buffer.from(access.listener) }], settings)
    sent.push(access.listener)
    assert.deepEqual(texts(await read(topic, BEGINNING, { global: settings })), sent)
  }
  for (const access of [secured.untrusted, secured.uncertified]) {
    // It tries again until the timeout, and does not tell the reason.
    const refused = new rdkafka.HighLevelProducer({ ...broker, ...inside(access) })
    await rejects(call(refused, 'connect', { timeout: 10_000 }), CODES.ERRORS.ERR__TRANSPORT)
  }
}

async function oauth() {
  const topic = await makeTopic('oauth')
  const settings = inside(secured.token('good'))
  await produce(topic, [{ value: Buffer.from('written') }], settings)
  assert.deepEqual(texts(await read(topic, BEGINNING, { global: settings })), ['written'])
  for (const wrong of ['expired', 'audience', 'stranger']) {
    // It tries again until the timeout, and does not tell the reason.
    const refused = connecting(rdkafka.HighLevelProducer, { ...broker, ...inside(secured.token(wrong)) })
    await rejects(call(refused, 'connect', { timeout: 10_000 }), CODES.ERRORS.ERR__TRANSPORT)
  }
}

async function sasl() {
  const topic = await makeTopic('sasl')
  const sent = []
  for (const mechanism of ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']) {
    const withPassword = password => ({
      'metadata.broker.list': SASL_BOOTSTRAP,
      'security.protocol': 'sasl_plaintext',
      'sasl.mechanism': mechanism,
      'sasl.username': SASL_USER,
      'sasl.password': password,
    })
    const login = withPassword(SASL_PASSWORD)
    await produce(topic, [{ value: Buffer.from(mechanism) }], login)
    sent.push(mechanism)
    assert.deepEqual(texts(await read(topic, BEGINNING, { global: login })), sent)
    // It tries again until the timeout, and does not tell the reason.
    const refused = new rdkafka.HighLevelProducer({ ...broker, ...withPassword('wrong') })
    await rejects(call(refused, 'connect', { timeout: 10_000 }), CODES.ERRORS.ERR__TRANSPORT)
  }
}

async function restartBefore() {
  const topic = await makeTopic('restart')
  await produce(topic, numbers(0, 500))
  await take(topic, topic, 120)
}

async function restartAfter() {
  const topic = PREFIX + 'restart'
  assert.deepEqual(texts(await read(topic)), texts(numbers(0, 500)))
  await produce(topic, numbers(500, 5))
  assert.deepEqual(await take(topic, topic, 385), texts(numbers(120, 385)))
}

// If the program that started the row is gone, the row ends too.
process.on('disconnect', () => process.exit())

play({
  metadata, topics, partitions, codecs, values, large, fetch, range, group, resume,
  static: staticMembers,
  cooperative,
  'kip-848': newProtocol,
  idempotent, transactions,
  acls: async () => {
    throw new NotInThisClient('no calls for ACLs')
  },
  'acls-enforced': aclsEnforced,
  sasl, tls, oauth,
  'restart-before': restartBefore,
  'restart-after': restartAfter,
})
