// The pictures that were made, which this browser keeps: a grid with search.

import { $, later, make, save, saved } from './dom.js'
import { thumbnail } from './pictures.js'
import * as storage from './storage.js'
import * as viewer from './viewer.js'

const grid = $('gallery'), search = $('search'), limit = $('limit')
const page = 40 // pictures that are put into the grid at once

let all = [] // entries, the newest first
let found = all // those that the search finds
let unsaved = 0 // the last id of a picture that the browser has no room for
const cells = new Map() // by entry, once they were shown

// start shows the pictures of before.
export async function start() {
  limit.value = saved('limit', '500')
  all = (await storage.entries()).reverse()
  for (const entry of all) prepare(entry)
  find()
}

// prepare gives an entry what it need not keep.
function prepare(entry) {
  entry.words = entry.text.toLowerCase()
  entry.blob = () => storage.file(entry.id)
  entry.name = `picture-${entry.id}`
}

// add keeps pictures, {blob, text}, and shows them first. It reports whether there was room
// for all; others last until the page is closed.
export async function add(pictures) {
  let room = true
  for (const { blob, text } of pictures.toReversed()) {
    const entry = { time: Date.now(), text, ...await thumbnail(blob) }
    const id = await storage.add(entry, blob).catch(() => undefined)
    entry.id = id ?? --unsaved
    prepare(entry)
    if (id === undefined) {
      room = false
      entry.blob = async () => blob
    }
    all.unshift(entry)
    if (!matches(entry)) continue
    if (found !== all) found.unshift(entry)
    grid.prepend(cell(entry))
  }
  await trim()
  tell()
  return room
}

async function trim() {
  const most = Number(limit.value)
  if (all.length > most) await forget(all.slice(most))
}

async function forget(entries) {
  const gone = new Set(entries)
  await storage.remove(entries.map(e => e.id))
  for (const entry of entries) {
    const element = cells.get(entry)
    if (!element) continue
    URL.revokeObjectURL(element.querySelector('img').src)
    element.remove()
    cells.delete(entry)
  }
  const same = found === all
  all = all.filter(e => !gone.has(e))
  found = same ? all : found.filter(e => !gone.has(e))
  tell()
}

// Search

const matches = entry => search.value.toLowerCase().split(/\s+/).every(word => entry.words.includes(word))

function find() {
  found = search.value.trim() ? all.filter(matches) : all
  grid.replaceChildren()
  extend()
  tell()
}

search.oninput = later(60, find) // the letter shows first

function tell() {
  $('count').textContent = found === all ? all.length || '' : `${found.length} of ${all.length}`
  $('empty').hidden = all.length > 0
  $('history-menu').hidden = search.hidden = all.length === 0
}

// extend puts more pictures into the grid.
function extend() {
  grid.append(...found.slice(grid.childElementCount, grid.childElementCount + page).map(cell))
}

new IntersectionObserver(seen => {
  if (seen.some(s => s.isIntersecting) && grid.childElementCount < found.length) extend()
}, { rootMargin: '800px' }).observe($('more'))

function cell(entry) {
  if (cells.has(entry)) return cells.get(entry)
  const image = make('img', { src: URL.createObjectURL(entry.thumb), alt: entry.text.split('\n')[0] || 'Picture', width: entry.width, height: entry.height })
  const button = make('button', { type: 'button', onclick: () => viewer.choose(found, found.indexOf(entry)) }, image)
  const element = make('li', {}, button)
  cells.set(entry, element)
  return element
}

// Keys: arrows go from picture to picture.
grid.onkeydown = event => {
  const buttons = [...grid.querySelectorAll('button')]
  const at = buttons.indexOf(document.activeElement)
  if (at < 0) return
  const { top } = buttons[0].getBoundingClientRect()
  const columns = buttons.findIndex(b => b.getBoundingClientRect().top > top)
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + Math.max(columns, 1), ArrowUp: at - Math.max(columns, 1), Home: 0, End: buttons.length - 1 }[event.key]
  if (to === undefined || !buttons[to]) return
  event.preventDefault()
  buttons[to].focus()
}

limit.onchange = () => {
  save('limit', limit.value)
  trim()
}

$('clear-history').onclick = () => {
  if (confirm(`Delete all ${all.length} pictures from this browser?`)) forget(all)
}

viewer.on({ forget: entry => forget([entry]) })
