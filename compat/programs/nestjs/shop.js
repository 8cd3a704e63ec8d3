// A NestJS application: a microservice whose transport is Kafka, and two clients that ask it and send it events.
//
//   node shop.js HOST:PORT PREFIX NUMBER
//
// Both clients ask so many questions at the same time, and the number of right answers is printed. Then follow the error of
// a question that is refused, the answers of a stream, and the events in the order in which the service got them.
import 'reflect-metadata'
import { Controller, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import {
  ClientKafka, Ctx, EventPattern, KafkaRetriableException, MessagePattern, Payload, RpcException, Transport,
} from '@nestjs/microservices'
import { Kafka, logLevel } from 'kafkajs'
import { firstValueFrom, lastValueFrom, range, toArray } from 'rxjs'

const [bootstrap, prefix, number] = process.argv.slice(2)
const numbers = Array.from({ length: Number(number) }, (_, n) => n)
const PRICE = `${prefix}price`
const COUNT = `${prefix}count`
const ORDERED = `${prefix}ordered`
const options = {
  client: { clientId: 'shop', brokers: [bootstrap] },
  consumer: { groupId: `${prefix}shop`, heartbeatInterval: 500 },
}

class Shop {
  static events = []
  static failed = false

  price({ item, amount }) {
    if (item !== 'apple') throw new RpcException(`no ${item}`)
    return { item, price: 3 * amount }
  }

  count({ to }) {
    return range(1, to)
  }

  ordered({ n }, context) {
    if (n === 7 && !Shop.failed) {
      Shop.failed = true
      throw new KafkaRetriableException('meant')
    }
    Shop.events.push(`${context.getMessage().key}:${n}`)
  }
}

class Application {}

// Decorators are called as functions, because this is not TypeScript.
const decorate = (method, decorator) =>
  decorator(Shop.prototype, method, Object.getOwnPropertyDescriptor(Shop.prototype, method))
decorate('price', MessagePattern(PRICE))
decorate('count', MessagePattern(COUNT))
decorate('ordered', EventPattern(ORDERED))
Payload()(Shop.prototype, 'ordered', 0)
Ctx()(Shop.prototype, 'ordered', 1)
Controller()(Shop)
Module({ controllers: [Shop] })(Application)

async function connected() {
  const client = new ClientKafka(options)
  client.subscribeToResponseOf(PRICE)
  client.subscribeToResponseOf(COUNT)
  await client.connect()
  return client
}

// until(CONDITION): waits for what happens in this process.
async function until(condition) {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 20))
}

async function rightAnswers(client) {
  const ask = async n => {
    const { item, price } = await firstValueFrom(client.send(PRICE, { item: 'apple', amount: n }))
    return item === 'apple' && price === 3 * n
  }
  return (await Promise.all(numbers.map(ask))).filter(Boolean).length
}

// kafkajs does not subscribe to topics that are not there. Each client gets its answers in a partition of its own.
const admin = new Kafka({ ...options.client, logLevel: logLevel.ERROR }).admin()
await admin.connect()
await admin.createTopics({
  topics: [
    ...[PRICE, COUNT, ORDERED].map(topic => ({ topic, numPartitions: 1 })),
    ...[PRICE, COUNT].map(topic => ({ topic: `${topic}.reply`, numPartitions: 2 })),
  ],
})
await admin.disconnect()

const service = await NestFactory.createMicroservice(Application, {
  transport: Transport.KAFKA,
  options: { ...options, subscribe: { fromBeginning: true } },
  logger: ['error'],
})
await service.listen()
const clients = await Promise.all([connected(), connected()])
const replies = client => client.getConsumerAssignments()[`${PRICE}.reply`]
await until(() => new Set(clients.map(replies)).size === 2 && !clients.some(client => replies(client) === undefined))
console.log('right answers:', ...await Promise.all(clients.map(rightAnswers)))

const [client] = clients
const refusal = await firstValueFrom(client.send(PRICE, { item: 'pear', amount: 1 })).catch(error => error)
console.log('refused:', refusal.message)
console.log('streamed:', ...await lastValueFrom(client.send(COUNT, { to: 5 }).pipe(toArray())))

for (const n of numbers.slice(0, 5)) await lastValueFrom(client.emit(ORDERED, { key: `customer-${n}`, value: { n } }))
const rest = numbers.slice(5).map(n => ({ key: `customer-${n}`, value: { n }, headers: { source: 'batch' } }))
await lastValueFrom(client.emitBatch(ORDERED, { messages: rest }))
await until(() => Shop.events.length >= numbers.length)
console.log('events:', ...Shop.events)

await Promise.all(clients.map(client => client.close()))
await service.close()
