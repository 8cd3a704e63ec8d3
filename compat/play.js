// Shared by the programs in JavaScript: plays the rows in the arguments, several at a time, and prints a line for each,
// "ok ROW", "FAIL ROW what happened" or "none ROW why", which `cells` in lib.sh reads.
'use strict'

const fs = require('node:fs')

const LIMIT = 120_000 // milliseconds for one row and for one wait; generous, for busy machines
const AT_A_TIME = 6

// The files and users of the secured broker that `secured` in lib.sh describes.
const certificate = name => `${process.env.CERTIFICATES}/${name}.pem`
const secured = {
  plain: { listener: process.env.TLS_BOOTSTRAP, ca: certificate('ca') },
  untrusted: { listener: process.env.TLS_BOOTSTRAP, ca: certificate('other-ca') },
  // Only as `certified`, the name by a rule for that of the certificate, the client is a super user.
  certified: { listener: process.env.CERTIFIED_BOOTSTRAP, ca: certificate('ca'), cert: certificate('client'), key: certificate('client-key') },
  uncertified: { listener: process.env.CERTIFIED_BOOTSTRAP, ca: certificate('ca') },
  // SASL or ACL, as in the names of the environment; with SCRAM-SHA-256.
  user: who => ({
    listener: process.env.SASL_TLS_BOOTSTRAP,
    ca: certificate('ca'),
    username: process.env[`${who}_USER`],
    password: process.env[`${who}_PASSWORD`],
  }),
  // With the token in this file of compat/certificates.
  token: name => ({
    listener: process.env.SASL_TLS_BOOTSTRAP,
    ca: certificate('ca'),
    token: fs.readFileSync(`${process.env.CERTIFICATES}/${name}.jwt`, 'utf8'),
  }),
}

// Thrown by a row that the client cannot play.
class NotInThisClient extends Error {}

// play(ROWS): `rows` has a function for each row.
async function play(rows) {
  const asked = process.argv.slice(2)
  const one = async row => {
    try {
      if (!rows[row]) throw new Error('nobody wrote this row')
      await within(rows[row](), `the row ${row}`)
      console.log(`ok ${row}`)
    } catch (error) {
      if (error instanceof NotInThisClient) console.log(`none ${row} ${error.message}`)
      else {
        console.log(`FAIL ${row} ${String(error.message).split('\n').slice(0, 30).join(' ')}`)
        console.error(row, error)
      }
    }
  }
  const workers = Array.from({ length: AT_A_TIME }, async () => {
    while (asked.length > 0) await one(asked.shift())
  })
  await Promise.all(workers)
  // A client that a failed row left connected must not keep the program running.
  process.exit(0)
}

// within(PROMISE, WHAT): the promise, which must settle in LIMIT.
function within(promise, what) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not end`)), LIMIT)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Values that arrive one by one: `push` adds one, `until(test)` waits until the test of all values is true.
class Arrivals {
  all = []
  waiting = []
  push(value) {
    this.all.push(value)
    this.waiting = this.waiting.filter(({ test, resolve }) => {
      if (!test(this.all)) return true
      resolve(this.all)
      return false
    })
  }
  until(test, what = 'what was waited for') {
    if (test(this.all)) return Promise.resolve(this.all)
    return within(new Promise(resolve => this.waiting.push({ test, resolve })), what)
  }
  count(n) {
    return this.until(all => all.length >= n, `the arrival of ${n}`)
  }
}

module.exports = { play, within, secured, Arrivals, NotInThisClient }
