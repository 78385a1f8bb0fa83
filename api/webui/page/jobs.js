// The list of jobs: their progress, their pictures, and the viewer for one.

import { call, events, Problem } from './api.js'
import * as viewer from './viewer.js'

const list = document.getElementById('jobs'), empty = document.getElementById('empty')
const template = document.getElementById('job-template')

// The ids and prompts of this browser's jobs outlive a reload of the page; the
// jobs themselves are kept by the server for a while.
const stored = 'jobs'
const known = () => JSON.parse(localStorage.getItem(stored) || '[]')
const remember = jobs => localStorage.setItem(stored, JSON.stringify(jobs.slice(-50)))
const forget = id => remember(known().filter(job => job.id !== id))

// submit sends a job and shows it.
export async function submit(endpoint, input) {
  const { id } = await call('POST', 'v1/jobs', { endpoint, input })
  remember([...known(), { id, prompt: input.prompt }])
  show(id, input.prompt).scrollIntoView({ block: 'start' }) // on a phone it is far below the button
}

// restore shows the jobs of before the page was loaded.
export function restore() {
  for (const { id, prompt } of known()) show(id, prompt)
}

function show(id, prompt) {
  const card = template.content.firstElementChild.cloneNode(true)
  list.prepend(card)
  empty.hidden = true
  new Card(id, card, prompt).follow()
  return card
}

class Card {
  constructor(id, root, prompt) {
    this.id = id
    this.path = 'v1/jobs/' + id
    this.root = root
    this.find = name => root.querySelector(name)
    this.find('.prompt').textContent = prompt
    this.state('Waiting')
    this.find('.cancel').onclick = () => this.ask(() => call('POST', this.path + '/cancel'))
    this.find('.finish').onclick = () => this.ask(() => call('POST', 'sdapi/v1/interrupt'))
    this.find('.dismiss').onclick = () => {
      this.remove()
      call('DELETE', this.path).catch(() => {}) // it may be gone already
    }
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
    empty.hidden = list.childElementCount > 0
  }

  async follow() {
    try {
      for await (const { name, data } of events(this.path + '/events')) this[name]?.(data)
    } catch (problem) {
      if (problem instanceof Problem && (problem.status === 404 || problem.status === 410)) this.remove()
      else this.failed(problem.message)
    }
  }

  status({ status, position }) {
    const running = status === 'running'
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
    if (eta > 0) parts.push(`${duration(eta)} left`)
    this.state(parts.join(', '))
  }

  preview({ image }) {
    this.find('.preview').src = image
    this.find('.preview').hidden = false
  }

  async done({ status, error, started_at, finished_at }) {
    for (const name of ['.cancel', '.finish', 'progress', '.preview']) this.find(name).hidden = true
    this.find('.dismiss').hidden = false
    if (status !== 'completed') {
      if (status === 'canceled') this.state('Canceled')
      else this.failed(error.message)
      return
    }
    const { output } = await call('GET', this.path)
    const info = JSON.parse(output.info)
    this.find('.prompt').textContent = info.prompt
    const n = output.images.length
    const taken = started_at ? ` in ${duration((new Date(finished_at) - new Date(started_at)) / 1000)}` : ''
    this.state(`${n} ${n === 1 ? 'picture' : 'pictures'}${taken}`)
    this.find('.pictures').replaceChildren(...output.images.map((data, i) => {
      const button = document.createElement('button'), image = new Image()
      const text = info.infotexts[i] || ''
      image.src = source(data)
      image.alt = `Picture ${i + 1}: ${info.prompt}`
      image.title = text
      button.type = 'button'
      button.append(image)
      button.onclick = () => viewer.open({ src: image.src, text, seed: info.all_seeds[i - info.index_of_first_image], name: `${this.id}-${i}` })
      return button
    }))
  }

  failed(text) {
    this.root.classList.add('failed')
    this.find('.dismiss').hidden = false
    this.state(text)
  }
}

// source is the data URL of a base64 picture; the kind shows in its first bytes.
function source(data) {
  const kind = { iVBO: 'png', '/9j/': 'jpeg', UklG: 'webp' }[data.slice(0, 4)] || 'png'
  return `data:image/${kind};base64,${data}`
}

function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 90) return `${Math.round(seconds)} s`
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}
