// Plays each row with a separate process of rows.js: a row that crashes the binding does not affect the others.
'use strict'

const { fork } = require('node:child_process')
const { once } = require('node:events')
const { play, NotInThisClient } = require('../play.js')

async function alone(row) {
  const child = fork(`${__dirname}/rows.js`, [row], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  let said = ''
  child.stdout.on('data', piece => {
    said += piece
    // Errors of the binding's threads at the end of the process do not count.
    if (said.endsWith('\n')) child.kill('SIGKILL')
  })
  const [status, signal] = await once(child, 'close')
  if (!said) throw new Error(`its process ended with ${signal ?? status}`)
  const [, word, reason] = said.match(/^(\S+) \S+ ?(.*)/)
  if (word === 'none') throw new NotInThisClient(reason)
  if (word !== 'ok') throw new Error(reason)
}

play(Object.fromEntries(process.argv.slice(2).map(row => [row, () => alone(row)])))
