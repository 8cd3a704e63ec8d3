// An application with kafkajs meets faults, and its test waits for what it does.
'use strict'

const assert = require('node:assert')
const { Kafka, logLevel } = require('kafkajs')
const { HookError, Hooks } = require('../../kit/node/jackdaw-hooks.cjs')

const [url, bootstrap] = process.argv.slice(2)

async function main() {
  const hooks = new Hooks(url)
  const retry = { initialRetryTime: 1 }
  const kafka = new Kafka({ clientId: 'shop', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry })
  const producer = kafka.producer()
  await producer.connect()
  const send = (value) => producer.send({ topic: 'orders', messages: [{ value }] })

  // An error that may be repeated is repeated.
  await send('first')
  const fault = await hooks.fail('Produce', 'NOT_LEADER_OR_FOLLOWER', { times: 2, client: 'shop' })
  assert.strictEqual((await hooks.faults())[0].left, 2)
  await send('second')
  await hooks.waitForFault(fault)
  assert.strictEqual(await hooks.waitForRecords('orders', 2), 2)

  // One that may not be repeated reaches the application.
  await hooks.fail('Produce', 'MESSAGE_TOO_LARGE', { client: 'shop' })
  await assert.rejects(send('refused'), { type: 'MESSAGE_TOO_LARGE' })

  // A group reads everything.
  const consumer = kafka.consumer({ groupId: 'kitchen', heartbeatInterval: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: ['orders'], fromBeginning: true })
  await consumer.run({ eachMessage: async () => {} })
  await hooks.waitForGroup('kitchen', { members: 1 })
  await hooks.waitForNoLag('kitchen', { topic: 'orders', timeout: 30_000 })

  // Deadlines and wrong arguments have their reasons.
  const late = (error) => error.status === 408 && error.message === 'orders has 2 of 3 records'
  await assert.rejects(hooks.waitForRecords('orders', 3, 10), late)
  const wrong = (error) => error instanceof HookError && error.status === 400 && /NO_SUCH_ERROR is no error/.test(error.message)
  await assert.rejects(hooks.fail('Produce', 'NO_SUCH_ERROR'), wrong)
  const unused = await hooks.cut('Fetch', 'after-answer', { client: 'nobody' })
  assert.strictEqual(await hooks.removeFault(unused), true)
  await hooks.removeAllFaults()
  assert.deepStrictEqual(await hooks.faults(), [])

  // What happens to a cluster happens when the test wants it.
  const joined = () => new Promise((resolve) => {
    const forget = consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { forget(); resolve(payload.memberId) })
  })
  let next = joined()
  await hooks.rebalance('kitchen')
  const member = await next
  next = joined()
  await hooks.expireSession('kitchen', member)
  assert.notStrictEqual(await next, member)
  await consumer.disconnect()

  for (const action of [() => hooks.fenceProducer('till'), () => hooks.abortTransaction('till'), () => hooks.turnClock(61_000)]) {
    const till = kafka.producer({ transactionalId: 'till', idempotent: true, maxInFlightRequests: 1, transactionTimeout: 60_000 })
    await till.connect()
    const transaction = await till.transaction()
    await transaction.send({ topic: 'orders', messages: [{ value: 'in a transaction' }] })
    await action()
    await assert.rejects(transaction.commit(), ({ type }) => ['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED'].includes(type))
    await till.disconnect()
  }

  await hooks.fillDisk()
  await assert.rejects(send('refused'))
  await hooks.freeDisk()
  await hooks.stopBroker(1)
  await hooks.startBroker(1)
  await hooks.moveLeader('orders', 0, 1)
  await send('third')
  await producer.disconnect()
}

main().then(() => process.exit(0), (error) => {
  console.error(error)
  process.exit(1)
})
