// The rows of the matrix with kafkajs, in the way its users write it.
'use strict'

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const fs = require('node:fs')
const kafkajs = require('kafkajs')
const { play, secured, Arrivals, NotInThisClient } = require('../play.js')
const { CompressionTypes, CompressionCodecs, ConfigResourceTypes } = kafkajs

const { BOOTSTRAP, SASL_BOOTSTRAP, SASL_USER, SASL_PASSWORD, PREFIX } = process.env
const connection = (broker, more) => new kafkajs.Kafka({ clientId: 'matrix', brokers: [broker], logLevel: kafkajs.logLevel.NOTHING, ...more })
const kafka = connection(BOOTSTRAP)
// A client of the secured broker.
function inside({ listener, ca, cert, key, username, password, token }) {
  const read = file => file && fs.readFileSync(file)
  return connection(listener, {
    ssl: { ca: [read(ca)], cert: read(cert), key: read(key) },
    retry: { retries: 2 },
    ...(username && { sasl: { mechanism: 'scram-sha-256', username, password } }),
    ...(token && { sasl: { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: token }) } }),
  })
}
const admin = kafka.admin()

// --- the codecs that kafkajs leaves to other packages ---

// If there is a global `fetch`, lz4-asm takes the program for a browser and loads its file from a URL.
const { fetch: ofNode } = globalThis
delete globalThis.fetch
const Lz4 = require('kafkajs-lz4')
globalThis.fetch = ofNode
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = new Lz4().codec
let zstd
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})

// --- producing and consuming ---

async function makeTopic(name, numPartitions = 1) {
  const topic = PREFIX + name
  await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] })
  return topic
}

async function withProducer({ client = kafka, ...options }, use) {
  const producer = client.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner, ...options })
  await producer.connect()
  try {
    return await use(producer)
  } finally {
    await producer.disconnect()
  }
}

const produce = (topic, messages, more = {}) =>
  withProducer({}, producer => producer.send({ topic, messages, ...more }))

// numbers(START, N, PARTITION): n messages whose values are consecutive numbers.
const numbers = (start, n, partition = 0) =>
  Array.from({ length: n }, (_, i) => ({ value: String(start + i), partition }))
const values = messages => messages.map(({ message }) => String(message.value))

// A consumer of a group for the rows: its messages, and its assignment in each generation.
class Reader {
  messages = new Arrivals()
  assignments = new Arrivals()
  fetches = new Arrivals()

  static async start(topic, { group = `${topic}-reader-${crypto.randomUUID()}`, fromBeginning = true, at, client = kafka, ...options } = {}) {
    const reader = new Reader()
    const consumer = client.consumer({ groupId: group, maxWaitTimeInMs: 200, heartbeatInterval: 300, ...options })
    reader.consumer = consumer
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => reader.assignments.push(payload.memberAssignment[topic] ?? []))
    consumer.on(consumer.events.FETCH, ({ payload }) => reader.fetches.push(payload))
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning })
    const running = consumer.run({ eachMessage: async message => reader.messages.push(message) })
    if (at !== undefined) consumer.seek({ topic, partition: 0, offset: String(at) })
    await running
    return reader
  }
  stop() {
    return this.consumer.disconnect()
  }
}

// read(TOPIC, COUNT): reads that many messages of a topic with its own group.
async function read(topic, count, options) {
  const reader = await Reader.start(topic, options)
  try {
    return [...(await reader.messages.count(count))]
  } finally {
    await reader.stop()
  }
}

async function rejects(promise, type) {
  const error = await promise.then(() => assert.fail(`this succeeded, instead of ${type}`), e => e)
  // A retried error has its cause inside; an error about several topics has one for each.
  for (const known of [error, error.cause, ...(error.errors ?? [])]) if (known?.type === type) return known
  throw error
}

// --- the rows ---

async function metadata() {
  const topic = await makeTopic('metadata', 3)
  const cluster = await admin.describeCluster()
  assert.equal(cluster.brokers.length, 1)
  assert.equal(cluster.brokers[0].port, Number(BOOTSTRAP.split(':').at(-1)))
  assert.equal(cluster.controller, cluster.brokers[0].nodeId)
  assert.ok(cluster.clusterId)
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  assert.equal(topics[0].name, topic)
  assert.deepEqual(topics[0].partitions.map(p => p.partitionId).sort(), [0, 1, 2])
  for (const partition of topics[0].partitions) {
    assert.equal(partition.leader, cluster.controller)
    assert.deepEqual(partition.replicas, [cluster.controller])
    assert.deepEqual(partition.isr, [cluster.controller])
  }
}

async function topics() {
  const topic = PREFIX + 'topics'
  const asked = { topics: [{ topic, numPartitions: 2, replicationFactor: 1, configEntries: [{ name: 'retention.ms', value: '77000' }] }] }
  assert.equal(await admin.createTopics({ ...asked, validateOnly: true, waitForLeaders: false }), true)
  assert.ok(!(await admin.listTopics()).includes(topic), 'only validated')
  assert.equal(await admin.createTopics(asked), true)
  assert.equal(await admin.createTopics(asked), false, 'it exists')
  assert.ok((await admin.listTopics()).includes(topic))
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  assert.equal(topics[0].partitions.length, 2)
  await rejects(admin.createTopics({ topics: [{ topic: 'no/slashes' }] }), 'INVALID_TOPIC_EXCEPTION')
  await admin.deleteTopics({ topics: [topic] })
  assert.ok(!(await admin.listTopics()).includes(topic), 'deleted')
}

async function partitions() {
  const topic = await makeTopic('partitions')
  await produce(topic, [{ value: 'old', partition: 0 }])
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  await produce(topic, [{ value: 'new', partition: 2 }])
  const got = (await read(topic, 2)).map(({ partition, message }) => `${partition} ${message.value}`)
  assert.deepEqual(got.sort(), ['0 old', '2 new'])
  await rejects(admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] }), 'INVALID_PARTITIONS')
}

async function codecs() {
  const sent = []
  const topic = await makeTopic('codecs')
  await withProducer({}, async producer => {
    for (const [codec, compression] of Object.entries(CompressionTypes)) {
      for (const acks of [0, 1, -1]) {
        const messages = Array.from({ length: 200 }, (_, i) => ({ key: `${codec} ${acks}`, value: `${codec} ${acks} ${i} `.repeat(5) }))
        const answer = await producer.send({ topic, messages, compression, acks })
        if (acks !== 0) assert.equal(answer[0].baseOffset, String(sent.length))
        sent.push(...messages.map(m => m.value))
      }
    }
  })
  assert.equal(sent.length, 5 * 3 * 200)
  assert.deepEqual(values(await read(topic, sent.length)), sent)
}

async function valuesRow() {
  const topic = await makeTopic('values')
  const bytes = Buffer.from([0, 255, 128, 10])
  await produce(topic, [
    { key: 'key', value: bytes, timestamp: '1500000000123', headers: { b: '2', a: ['1', '3'], empty: '' } },
    { key: null, value: 'no key' },
    { key: 'deleted', value: null },
    { key: '', value: '' },
  ])
  const got = (await read(topic, 4)).map(({ message }) => message)
  assert.deepEqual(got.map(m => m.offset), ['0', '1', '2', '3'])
  assert.deepEqual(got.map(m => m.key && String(m.key)), ['key', null, 'deleted', ''])
  assert.deepEqual(got[0].value, bytes)
  assert.deepEqual(got.slice(1).map(m => m.value && String(m.value)), ['no key', null, ''])
  assert.equal(got[0].timestamp, '1500000000123')
  assert.deepEqual(Object.keys(got[0].headers), ['b', 'a', 'empty'])
  assert.equal(String(got[0].headers.b), '2')
  assert.deepEqual(got[0].headers.a.map(String), ['1', '3'])
  assert.equal(String(got[0].headers.empty), '')
  assert.deepEqual(got[1].headers, {})
}

async function large() {
  const topic = await makeTopic('large')
  const value = crypto.randomBytes(1_000_000)
  await produce(topic, [{ value }])
  await rejects(produce(topic, [{ value: crypto.randomBytes(1_500_000) }]), 'MESSAGE_TOO_LARGE')
  await produce(topic, [{ value: 'small' }])
  const got = await read(topic, 2)
  assert.ok(value.equals(got[0].message.value))
  assert.equal(String(got[1].message.value), 'small')
  assert.equal(got[1].message.offset, '1')
}

async function fetch() {
  const topic = await makeTopic('fetch')
  const first = 1_600_000_000_000
  await produce(topic, numbers(0, 100).map((m, i) => ({ ...m, timestamp: String(first + i * 1000) })))
  assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '100', high: '100', low: '0' }])
  const all = numbers(0, 100).map(m => m.value)
  const stamped = await admin.fetchTopicOffsetsByTimestamp(topic, first + 69_500)
  assert.deepEqual(stamped, [{ partition: 0, offset: '70' }])
  const [beginning, offset, timestamp, end] = await Promise.all([
    read(topic, 100),
    read(topic, 60, { at: 40 }),
    read(topic, 30, { at: stamped[0].offset }),
    (async () => {
      const reader = await Reader.start(topic, { fromBeginning: false })
      // After its first fetch it has found the end.
      await reader.fetches.count(1)
      await produce(topic, [{ value: 'later' }])
      await reader.messages.count(1)
      await reader.stop()
      return reader.messages.all
    })(),
  ])
  assert.deepEqual(values(beginning).slice(0, 100), all)
  assert.deepEqual(values(offset).slice(0, 60), all.slice(40))
  assert.deepEqual(values(timestamp).slice(0, 30), all.slice(70))
  assert.deepEqual(values(end), ['later'])
}

// In kafkajs it cannot be an error: it resets to the beginning or to the end, as the subscription says.
async function range() {
  const topic = await makeTopic('range')
  await produce(topic, numbers(0, 3))
  assert.deepEqual(values(await read(topic, 3, { at: 99 })), ['0', '1', '2'])
  const reader = await Reader.start(topic, { at: 99, fromBeginning: false })
  await reader.fetches.count(1)
  await produce(topic, [{ value: 'later' }])
  await reader.messages.count(1)
  await reader.stop()
  assert.deepEqual(values(reader.messages.all), ['later'])
}

async function group() {
  const topic = await makeTopic('group', 4)
  const last = arrivals => [...(arrivals.at(-1) ?? [])].sort().join()
  const one = await Reader.start(topic, { group: topic })
  await one.assignments.until(all => last(all) === '0,1,2,3', 'all partitions for the first')
  const two = await Reader.start(topic, { group: topic })
  await Promise.all([one, two].map(r => r.assignments.until(all => all.at(-1)?.length === 2, 'two partitions each')))
  assert.deepEqual([...one.assignments.all.at(-1), ...two.assignments.all.at(-1)].sort(), [0, 1, 2, 3])
  await produce(topic, [0, 1, 2, 3].map(partition => ({ value: `both ${partition}`, partition })))
  await Promise.all([one.messages.count(2), two.messages.count(2)])
  for (const r of [one, two])
    assert.deepEqual(r.messages.all.map(m => m.partition).sort(), [...r.assignments.all.at(-1)].sort())
  await one.stop()
  await two.assignments.until(all => last(all) === '0,1,2,3', 'the rest for the second')
  await produce(topic, [0, 1, 2, 3].map(partition => ({ value: `left ${partition}`, partition })))
  const left = await two.messages.until(all => all.filter(m => String(m.message.value).startsWith('left')).length === 4)
  assert.equal(left.length, 6, 'nothing twice')
  await two.stop()
}

async function resume() {
  const topic = await makeTopic('resume')
  await produce(topic, numbers(0, 10))
  assert.deepEqual(values(await read(topic, 10, { group: topic })), numbers(0, 10).map(m => m.value))
  const committed = await admin.fetchOffsets({ groupId: topic, topics: [topic] })
  assert.equal(committed[0].partitions[0].offset, '10')
  await produce(topic, numbers(10, 5))
  assert.deepEqual(values(await read(topic, 5, { group: topic })), numbers(10, 5).map(m => m.value))
  assert.deepEqual(values(await read(topic, 15, { group: topic + '-other' })), numbers(0, 15).map(m => m.value))
}

async function idempotent() {
  const topic = await makeTopic('idempotent')
  await withProducer({ idempotent: true }, async producer => {
    for (let i = 0; i < 50; i++) await producer.send({ topic, messages: numbers(i * 20, 20) })
  })
  assert.deepEqual((await admin.fetchTopicOffsets(topic))[0].high, '1000')
  assert.deepEqual(values(await read(topic, 1000)), numbers(0, 1000).map(m => m.value))
}

async function transactions() {
  const topic = await makeTopic('transactions')
  const source = await makeTopic('transactions-source')
  await produce(source, numbers(0, 7))
  await withProducer({ idempotent: true, maxInFlightRequests: 1, transactionalId: topic }, async producer => {
    const kept = await producer.transaction()
    await kept.send({ topic, messages: numbers(0, 3) })
    await kept.sendOffsets({ consumerGroupId: source, topics: [{ topic: source, partitions: [{ partition: 0, offset: '4' }] }] })
    await kept.commit()
    const dropped = await producer.transaction()
    await dropped.send({ topic, messages: numbers(3, 3) })
    await dropped.sendOffsets({ consumerGroupId: source, topics: [{ topic: source, partitions: [{ partition: 0, offset: '6' }] }] })
    await dropped.abort()
    const more = await producer.transaction()
    await more.send({ topic, messages: numbers(6, 1) })
    await more.commit()
  })
  assert.deepEqual(values(await read(topic, 4)), ['0', '1', '2', '6'])
  assert.deepEqual(values(await read(topic, 7, { readUncommitted: true })), numbers(0, 7).map(m => m.value))
  assert.equal((await admin.fetchOffsets({ groupId: source, topics: [source] }))[0].partitions[0].offset, '4')
}

async function configs() {
  const name = await makeTopic('configs')
  const type = ConfigResourceTypes.TOPIC
  const entry = async () => {
    const { resources } = await admin.describeConfigs({ resources: [{ type, name }], includeSynonyms: false })
    assert.equal(resources[0].errorCode, 0)
    return resources[0].configEntries.find(e => e.configName === 'retention.ms')
  }
  assert.deepEqual(((e) => [e.configValue, e.isDefault])(await entry()), ['604800000', true])
  await admin.alterConfigs({ validateOnly: false, resources: [{ type, name, configEntries: [{ name: 'retention.ms', value: '123456' }] }] })
  assert.deepEqual(((e) => [e.configValue, e.isDefault])(await entry()), ['123456', false])
  await rejects(
    admin.alterConfigs({ validateOnly: false, resources: [{ type, name, configEntries: [{ name: 'retention.ms', value: 'soon' }] }] }),
    'INVALID_CONFIG',
  )
}

async function deleteRecords() {
  const topic = await makeTopic('delete-records')
  await produce(topic, numbers(0, 10))
  // kafkajs knows the leader only after this admin client has requested something about the topic.
  assert.equal((await admin.fetchTopicOffsets(topic))[0].low, '0')
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] })
  assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '10', high: '10', low: '6' }])
  assert.deepEqual(values(await read(topic, 4)), ['6', '7', '8', '9'])
}

async function groups() {
  const topic = await makeTopic('groups')
  await produce(topic, numbers(0, 10))
  const member = await Reader.start(topic, { group: topic })
  await member.messages.count(10)
  assert.ok((await admin.listGroups()).groups.some(g => g.groupId === topic && g.protocolType === 'consumer'))
  const [alive] = (await admin.describeGroups([topic])).groups
  assert.deepEqual([alive.state, alive.protocol, alive.members.length], ['Stable', 'RoundRobinAssigner', 1])
  assert.equal(alive.members[0].clientId, 'matrix')
  const busy = await admin.deleteGroups([topic]).catch(e => e)
  assert.equal(busy.groups?.[0].error?.type, 'NON_EMPTY_GROUP')
  await member.stop()
  const [empty] = (await admin.describeGroups([topic])).groups
  assert.deepEqual([empty.state, empty.members.length], ['Empty', 0])
  const offset = async () => (await admin.fetchOffsets({ groupId: topic, topics: [topic] }))[0].partitions[0].offset
  assert.equal(await offset(), '10')
  await admin.setOffsets({ groupId: topic, topic, partitions: [{ partition: 0, offset: '3' }] })
  assert.equal(await offset(), '3')
  assert.deepEqual(values(await read(topic, 7, { group: topic })), numbers(3, 7).map(m => m.value))
  await admin.deleteGroups([topic])
  assert.ok(!(await admin.listGroups()).groups.some(g => g.groupId === topic))
  assert.equal(await offset(), '-1')
}

async function acls() {
  const acl = {
    resourceType: kafkajs.AclResourceTypes.TOPIC,
    resourceName: PREFIX + 'acls',
    resourcePatternType: kafkajs.ResourcePatternTypes.LITERAL,
    principal: 'User:somebody',
    host: '*',
    operation: kafkajs.AclOperationTypes.READ,
    permissionType: kafkajs.AclPermissionTypes.ALLOW,
  }
  await rejects(admin.createAcls({ acl: [acl] }), 'SECURITY_DISABLED')
  await rejects(admin.describeAcls(acl), 'SECURITY_DISABLED')
  await rejects(admin.deleteAcls({ filters: [acl] }), 'SECURITY_DISABLED')
}

const { AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes } = kafkajs
const topicAcl = (resourceName, operation, permissionType = AclPermissionTypes.ALLOW) => ({
  resourceType: AclResourceTypes.TOPIC,
  resourceName,
  resourcePatternType: ResourcePatternTypes.LITERAL,
  principal: `User:${process.env.ACL_USER}`,
  host: '*',
  operation,
  permissionType,
})

// BOOTSTRAP is of a super user, who gives rights to another user and takes them away.
async function aclsEnforced() {
  const topic = await makeTopic('acls-enforced')
  await produce(topic, [{ value: '1' }])
  const client = inside(secured.user('ACL'))
  const write = () => withProducer({ client }, producer => producer.send({ topic, messages: [{ value: '2' }] }))
  const create = acl => admin.createAcls({ acl: [acl] })
  const remove = async acl => {
    const { filterResponses } = await admin.deleteAcls({ filters: [acl] })
    assert.deepEqual(filterResponses.map(f => [f.errorCode, f.matchingAcls.length]), [[0, 1]])
  }
  // A consumer of kafkajs always has a group.
  const group = { ...topicAcl(topic, AclOperationTypes.READ), resourceType: AclResourceTypes.GROUP }
  const readInGroup = async () => values(await read(topic, 1, { client, group: topic }))
  // An error while it runs is an event.
  const crash = async () => {
    const consumer = client.consumer({ groupId: topic })
    const crashed = new Promise(resolve => consumer.on(consumer.events.CRASH, ({ payload }) => resolve(payload.error)))
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({ eachMessage: async () => {} })
    const error = await crashed
    await consumer.disconnect()
    throw error
  }

  const [describe, mayRead] = [topicAcl(topic, AclOperationTypes.DESCRIBE), topicAcl(topic, AclOperationTypes.READ)]
  await rejects(write(), 'TOPIC_AUTHORIZATION_FAILED')
  await create(describe)
  await assert.rejects(crash(), { name: 'KafkaJSGroupCoordinatorNotFound' }) // it hides the broker's code
  await create(group)
  await rejects(crash(), 'TOPIC_AUTHORIZATION_FAILED')
  await create(mayRead)
  assert.deepEqual(await readInGroup(), ['1'])

  await rejects(write(), 'TOPIC_AUTHORIZATION_FAILED')
  const mayWrite = topicAcl(topic, AclOperationTypes.WRITE)
  const denial = topicAcl(topic, AclOperationTypes.WRITE, AclPermissionTypes.DENY)
  await create(mayWrite)
  assert.equal((await write())[0].baseOffset, '1')
  await create(denial)
  await rejects(write(), 'TOPIC_AUTHORIZATION_FAILED')
  const { resources } = await admin.describeAcls({
    ...describe,
    principal: undefined,
    host: undefined,
    operation: AclOperationTypes.ANY,
    permissionType: AclPermissionTypes.ANY,
  })
  const found = resources.flatMap(r => r.acls.map(a => topicAcl(r.resourceName, a.operation, a.permissionType)))
  const sorted = acls => acls.map(a => JSON.stringify(a)).sort()
  assert.deepEqual(sorted(found), sorted([describe, mayRead, mayWrite, denial]))
  await remove(denial)
  assert.equal((await write())[0].baseOffset, '2')
  await remove(mayWrite)
  await rejects(write(), 'TOPIC_AUTHORIZATION_FAILED')
}

async function tls() {
  const topic = await makeTopic('tls')
  const sent = []
  for (const access of [secured.plain, secured.certified, secured.user('SASL')]) {
    const client = inside(access)
    sent.push(access.listener)
    await withProducer({ client }, producer => producer.send({ topic, messages: [{ value: access.listener }] }))
    assert.deepEqual(values(await read(topic, sent.length, { client })), sent)
  }
  for (const access of [secured.untrusted, secured.uncertified])
    await assert.rejects(withProducer({ client: inside(access) }, () => {}), { message: /certificate/ })
}

async function oauth() {
  const topic = await makeTopic('oauth')
  const client = inside(secured.token('good'))
  const write = (client, value) => withProducer({ client }, producer => producer.send({ topic, messages: [{ value }] }))
  await write(client, 'written')
  // It takes the broker's answer to a bad token for success, and then the broker closes the connection.
  for (const wrong of ['expired', 'audience', 'stranger'])
    await assert.rejects(write(inside(secured.token(wrong)), wrong), { name: /^KafkaJS/ }, wrong)
  await write(client, 'last')
  assert.deepEqual(values(await read(topic, 2, { client })), ['written', 'last'])
}

async function sasl() {
  const topic = await makeTopic('sasl')
  const sent = []
  for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
    const withPassword = password => connection(SASL_BOOTSTRAP, { sasl: { mechanism, username: SASL_USER, password } })
    const client = withPassword(SASL_PASSWORD)
    await withProducer({ client }, producer => producer.send({ topic, messages: [{ value: mechanism }] }))
    sent.push(mechanism)
    assert.deepEqual(values(await read(topic, sent.length, { client })), sent)
    await assert.rejects(withProducer({ client: withPassword('wrong') }, () => {}), { name: 'KafkaJSSASLAuthenticationError' })
  }
}

async function restartBefore() {
  const topic = await makeTopic('restart')
  await produce(topic, numbers(0, 120))
  await read(topic, 120, { group: topic })
  await produce(topic, numbers(120, 380))
}

async function restartAfter() {
  const topic = PREFIX + 'restart'
  assert.deepEqual(values(await read(topic, 500)), numbers(0, 500).map(m => m.value))
  await produce(topic, numbers(500, 5))
  assert.deepEqual(values(await read(topic, 385, { group: topic })), numbers(120, 385).map(m => m.value))
}

const notInThisClient = async () => {
  throw new NotInThisClient('not in this client')
}

async function main() {
  zstd = await (await import(require.resolve('@hpcc-js/wasm-zstd'))).Zstd.load()
  await admin.connect()
  await play({
    metadata, topics, partitions, codecs, values: valuesRow, large, fetch, range, group, resume,
    static: notInThisClient,
    cooperative: notInThisClient,
    'kip-848': notInThisClient,
    idempotent, transactions, configs, 'delete-records': deleteRecords, groups, acls,
    'acls-enforced': aclsEnforced,
    sasl, tls, oauth,
    'restart-before': restartBefore,
    'restart-after': restartAfter,
  })
}
main()
