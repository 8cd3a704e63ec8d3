// An application with the part of kafka-javascript that is like kafkajs.
//
//   node shop.js HOST:PORT write TOPIC FIRST LAST      makes the topic if it is not there, and writes orders of ten customers
//   node shop.js HOST:PORT copy FROM TO GROUP NUMBER   copies so many records in transactions with their offsets, the first of
//                                                      which it aborts
'use strict'

const { Kafka } = require('@confluentinc/kafka-javascript').KafkaJS

const [bootstrap, command, ...args] = process.argv.slice(2)
const kafka = new Kafka({ 'bootstrap.servers': bootstrap, 'log_level': 3 })

async function write(topic, first, last) {
  const admin = kafka.admin()
  await admin.connect()
  console.log('created', await admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: 1 }] }))
  await admin.disconnect()

  const producer = kafka.producer()
  await producer.connect()
  const messages = []
  for (let n = Number(first); n <= Number(last); n++) {
    messages.push({ key: `customer-${n % 10}`, value: `${n}`, headers: { shop: 'corner' } })
  }
  await producer.send({ topic, messages })
  await producer.disconnect()
  console.log('written', messages.length)
}

async function copy(from, to, group, number) {
  const producer = kafka.producer({ 'transactional.id': group })
  await producer.connect()
  const consumer = kafka.consumer({ 'group.id': group, 'auto.offset.reset': 'earliest', 'enable.auto.commit': false })
  await consumer.connect()
  await consumer.subscribe({ topics: [from] })
  let copied = 0
  let aborted = false
  await new Promise((resolve, reject) => {
    const eachBatch = async ({ batch }) => {
      const transaction = await producer.transaction()
      await transaction.send({ topic: to, messages: batch.messages.map(({ key, value, headers }) => ({ key, value, headers })) })
      if (!aborted) {
        aborted = true
        await transaction.abort()
        throw new Error('meant') // the batch is read again
      }
      const offset = `${Number(batch.lastOffset()) + 1}`
      await transaction.sendOffsets({ consumer, topics: [{ topic: from, partitions: [{ partition: batch.partition, offset }] }] })
      await transaction.commit()
      copied += batch.messages.length
      if (copied >= Number(number)) resolve()
    }
    consumer.run({ eachBatch }).catch(reject)
  })
  await consumer.disconnect()
  await producer.disconnect()

  const admin = kafka.admin()
  await admin.connect()
  const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [from] })
  await admin.disconnect()
  console.log('copied', copied, 'committed', partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0))
}

const commands = { write, copy }
commands[command](...args).then(() => process.exit(0), (error) => {
  console.error(error)
  process.exit(1)
})
