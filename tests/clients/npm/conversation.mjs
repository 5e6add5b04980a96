// One job comes in as the first line of standard input; questions go out and answers come in as lines of JSON.
import readline from 'node:readline'

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()

async function read() {
  return JSON.parse((await lines.next()).value)
}

function write(document) {
  process.stdout.write(JSON.stringify(document) + '\n')
}

export async function ask(question, rest) {
  write({ ask: question, ...rest })
  return await read()
}

export async function serve(work) {
  try {
    write({ done: await work(await read()) })
  } catch (error) {
    write({ failed: { name: error.name, message: error.message, error: await code(error), cause: error.cause?.message, stack: error.stack } })
  }
  process.exit(0)
}

// Where the answer has a challenge, the clients raise that and leave the body to whoever wants it.
async function code(error) {
  if (error.error) return error.error
  if (error.response instanceof Response && !error.response.bodyUsed) return (await error.response.json()).error ?? null
  return error.cause?.error ?? null
}

export async function privateKey(jwk) {
  return await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
}

export const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000))
