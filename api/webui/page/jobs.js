// The jobs that wait or run, and what becomes of them.

import { call, events, Problem } from './api.js'
import { $, announce, duration, make, save, saved } from './dom.js'
import * as gallery from './gallery.js'
import { textOf } from './parameters.js'
import { fromBase64 } from './pictures.js'

const list = $('jobs'), template = $('job-template')

// The ids and prompts of this browser's jobs outlive a reload of the page; the
// jobs themselves are kept by the server for a while.
const stored = 'jobs'
const known = () => saved(stored, [])
const remember = jobs => save(stored, jobs.slice(-100))
const forget = id => remember(known().filter(job => job.id !== id))

// submit sends a job and shows it.
export async function submit({ endpoint, input }) {
  const { id } = await call('POST', 'v1/jobs', { endpoint, input })
  const title = input.prompt ?? 'Enlarge a picture'
  remember([...known(), { id, title }])
  const card = show(id, title)
  if (matchMedia('(max-width: 60rem)').matches) card.scrollIntoView({ block: 'start' }) // it is far below the button
}

// restore shows the jobs of before the page was loaded.
export function restore() {
  for (const { id, title } of known()) show(id, title)
}

function show(id, title) {
  const root = template.content.firstElementChild.cloneNode(true)
  list.append(root)
  new Card(id, root, title).follow()
  return root
}

class Card {
  constructor(id, root, title) {
    this.id = id
    this.path = 'v1/jobs/' + id
    this.root = root
    this.title = title
    this.find = name => root.querySelector(name)
    this.find('.prompt').textContent = title
    this.state('Waiting')
    this.find('.cancel').onclick = () => this.ask(() => call('POST', this.path + '/cancel'))
    this.find('.finish').onclick = () => this.ask(() => call('POST', this.path + '/finish'))
    this.find('.dismiss').onclick = () => this.remove()
  }

  // ask runs what a button asks for and shows why it failed.
  ask(what) { what().catch(problem => this.state(problem.message)) }

  state(text) {
    const line = this.find('.state')
    if (line.textContent !== text) line.textContent = text
  }

  remove() {
    forget(this.id)
    this.root.remove()
    call('DELETE', this.path).catch(() => {}) // it may be gone already
  }

  async follow() {
    try {
      for await (const { name, data } of events(this.path + '/events')) await this[name]?.(data)
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 404 && problem.status !== 410) this.failed(problem.message)
      else if (this.known) this.failed('The server was started anew and has forgotten this job.')
      else this.remove() // it was done long before this page was opened
    }
  }

  // lost is no event of the server's: it does not answer.
  lost() { this.state('The server does not answer, trying again') }

  status({ status, position }) {
    this.known = true
    const running = status === 'running'
    this.root.classList.toggle('running', running)
    this.find('.cancel').hidden = status !== 'queued' && !running
    this.find('.finish').hidden = !running
    this.find('progress').hidden = !running
    if (status === 'queued') this.state(position ? `Waiting, ${position} ahead` : 'Waiting')
    if (running) this.state('Starting')
  }

  progress({ fraction, eta, phase, step, steps, pass, passes, text }) {
    const bar = this.find('progress')
    if (fraction) bar.value = fraction
    else bar.removeAttribute('value')
    const parts = [text || (phase ? phase[0].toUpperCase() + phase.slice(1) : 'Starting')]
    if (steps) parts.push(`${Math.min(step + (step < steps), steps)} of ${steps}`)
    if (passes > 1) parts.push(`pass ${Math.min(pass + 1, passes)} of ${passes}`)
    if (phase === 'sampling') parts.push(...this.speed(pass, step))
    if (eta > 0) parts.push(`${duration(eta)} left`)
    this.state(parts.join(', '))
  }

  // speed is how many steps of this pass were made in a second, once that is known.
  speed(pass, step) {
    const now = performance.now()
    if (this.since?.pass !== pass || step < this.since.step) this.since = { pass, step, time: now }
    const steps = step - this.since.step, seconds = (now - this.since.time) / 1000
    if (steps < 1) return []
    return [steps >= seconds ? `${(steps / seconds).toFixed(1)} it/s` : `${(seconds / steps).toFixed(1)} s/it`]
  }

  preview({ image }) {
    this.find('.preview').src = image
    this.find('.preview').hidden = false
  }

  async done({ status, error }) {
    for (const name of ['.cancel', '.finish', 'progress']) this.find(name).hidden = true
    this.root.classList.remove('running')
    if (status === 'canceled') return this.remove()
    if (status !== 'completed') return this.failed(error.message)
    const { output, started_at, finished_at } = await call('GET', this.path)
    const { entries, notes } = await results(output)
    const taken = started_at ? ` in ${duration((new Date(finished_at) - new Date(started_at)) / 1000)}` : ''
    const told = `${entries.length} ${entries.length === 1 ? 'picture' : 'pictures'}${taken}`
    if (!await gallery.add(entries)) notes.push('The browser has no room for more pictures: this lasts until the page is closed. Download it, or delete others.')
    announce(told)
    if (notes.length === 0) return this.remove()
    this.find('.preview').hidden = true
    this.find('.dismiss').hidden = false
    this.find('.prompt').replaceChildren(...notes.map(note => make('span', { className: 'remark', textContent: note })))
    this.state(told)
  }

  failed(text) {
    this.root.classList.add('failed')
    for (const name of ['.preview', 'progress', '.cancel', '.finish']) this.find(name).hidden = true
    this.find('.dismiss').hidden = false
    this.state(text)
  }
}

// results are the pictures of an output with their texts, and what is to be said.
async function results(output) {
  if (output.image !== undefined) {
    const blob = fromBase64(output.image)
    return { entries: [{ blob, text: await textOf(blob) }], notes: [] }
  }
  const info = JSON.parse(output.info)
  const entries = output.images.map((data, i) => ({ blob: fromBase64(data), text: info.infotexts[i] ?? info.infotexts[0] ?? '' }))
  return { entries, notes: info.notes ?? [] }
}
