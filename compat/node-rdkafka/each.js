// Plays each row by a rows.js of its own: a row that crashes the binding takes none of the others along.
'use strict'

const { fork } = require('node:child_process')
const { once } = require('node:events')
const { play } = require('../play.js')

async function alone(row) {
  const child = fork(`${__dirname}/rows.js`, [row], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  let said = ''
  child.stdout.on('data', piece => {
    said += piece
    // What the binding's threads do at the end of the process is nobody's question.
    if (said.endsWith('\n')) child.kill('SIGKILL')
  })
  const [status, signal] = await once(child, 'close')
  if (!said) throw new Error(`its process ended with ${signal ?? status}`)
  const [, word, reason] = said.match(/^(\S+) \S+ ?(.*)/)
  if (word !== 'ok') throw new Error(reason)
}

play(Object.fromEntries(process.argv.slice(2).map(row => [row, () => alone(row)])))
