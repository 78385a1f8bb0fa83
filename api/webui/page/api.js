// Calls of the server, with the credentials that it asks for.

const key = 'authorization'

// request sends a request and returns the reply, signing in when needed.
async function request(method, path, { body, headers = {}, signal } = {}) {
  for (;;) {
    const given = sessionStorage.getItem(key)
    if (given) headers.Authorization = given
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    const reply = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) })
    if (reply.status !== 401) return reply
    await signIn(given)
  }
}

// call sends a request and returns the decoded reply.
export async function call(method, path, body) {
  const reply = await request(method, path, { body })
  if (!reply.ok) throw new Problem(reply.status, await reply.text())
  return reply.status === 204 ? null : reply.json()
}

// Problem is a reply that tells of an error, in any of the server's shapes. fields
// are the {name, text} of fields that it is about, where it says so.
export class Problem extends Error {
  constructor(status, text) {
    const { message, fields } = read(status, text)
    super(message)
    this.status = status
    this.fields = fields
  }
}

function read(status, text) {
  let reply
  try { reply = JSON.parse(text) } catch { return { message: text || `HTTP status ${status}` } }
  const { detail, errors, error } = reply
  if (Array.isArray(detail)) {
    const fields = detail.map(d => ({ name: d.loc.slice(1).join(' '), text: d.msg }))
    return { message: fields.map(f => `${f.name}: ${f.text}`).join('; '), fields }
  }
  return { message: detail || errors || error?.message || `HTTP status ${status}` }
}

let asking // the sign-in in progress, one for all calls

function signIn(refused) {
  if (sessionStorage.getItem(key) !== refused) return // another call was quicker
  asking ??= new Promise(resolve => {
    const dialog = document.getElementById('login'), form = dialog.querySelector('form')
    dialog.addEventListener('cancel', event => event.preventDefault())
    form.onsubmit = () => {
      const user = form.elements.user.value, secret = form.elements.secret.value
      const bytes = new TextEncoder().encode(`${user}:${secret}`)
      sessionStorage.setItem(key, user ? 'Basic ' + btoa(String.fromCharCode(...bytes)) : 'Bearer ' + secret)
      form.elements.secret.value = ''
      asking = undefined
      resolve()
    }
    dialog.showModal()
  })
  return asking
}

// away are the statuses by which a proxy tells that the server does not answer, and the
// server that it will soon.
const away = [502, 503, 504]

// events yields the server-sent events of a path as {name, data}, and connects
// again after a break, of which {name: 'lost'} tells, until the server says that
// there are no more.
export async function* events(path, signal) {
  let last = ''
  for (let pause = 500; ; pause = Math.min(2 * pause, 10000)) {
    try {
      const reply = await request('GET', path, { headers: last ? { 'Last-Event-ID': last } : {}, signal })
      if (reply.status === 204) return
      if (!reply.ok) throw new Problem(reply.status, await reply.text())
      for await (const event of parse(reply.body)) {
        pause = 500
        last = event.id || last
        yield event
        if (event.name === 'done') return
      }
    } catch (problem) {
      if (signal?.aborted || problem instanceof Problem && !away.includes(problem.status)) throw problem
      yield { name: 'lost' }
    }
    await new Promise(resolve => setTimeout(resolve, pause))
  }
}

async function* parse(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  for (let rest = ''; ;) {
    const { done, value } = await reader.read()
    if (done) return
    const blocks = (rest + value).split('\n\n')
    rest = blocks.pop()
    for (const block of blocks) {
      const event = {}
      for (const line of block.split('\n')) {
        const at = line.indexOf(': ')
        if (at > 0) event[line.slice(0, at)] = line.slice(at + 2)
      }
      if (event.event) yield { name: event.event, id: event.id, data: JSON.parse(event.data) }
    }
  }
}
