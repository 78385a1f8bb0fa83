// The picture to start from, and the mask that is painted over it.

import { $, later } from './dom.js'
import { dataURL, drawn, load as decode } from './pictures.js'
import { draft, keepDraft } from './storage.js'

const colour = '#e0218a' // seldom in pictures

const frame = $('canvas'), stage = $('stage'), canvas = $('mask'), picture = $('init-picture'), pen = canvas.getContext('2d')

let blob = null // of the picture
let base = null // a mask that was loaded, as a canvas of the picture's size
let strokes = [] // { erase, width, points: [x, y, ...] } in pixels of the picture
let undone = []

let changed = () => {}

// onChange calls f whenever there is another picture or mask.
export const onChange = f => { changed = f }

// has tells whether there is a picture, and hasMask whether anything is painted.
export const has = () => blob !== null
export const hasMask = () => has() && (base !== null || strokes.some(s => !s.erase))

// size is that of the picture in pixels.
export const size = () => ({ width: picture.naturalWidth, height: picture.naturalHeight })

// image is the picture as a data URL.
export const image = () => dataURL(blob)

// load shows a picture, with what was painted on it before where that is given.
export async function load(source, before = {}) {
  await decode(picture, source)
  // Others than these, and turned ones, are sent as they are seen here.
  blob = ['image/png', 'image/webp'].includes(source.type) ? source : await drawn(picture)
  canvas.width = picture.naturalWidth
  canvas.height = picture.naturalHeight
  base = before.base ? await painted(before.base) : null
  strokes = before.strokes ?? []
  undone = []
  view = { scale: 1, x: 0, y: 0 }
  arrange()
  redraw()
}

export function remove() {
  blob = base = null
  strokes = []
  picture.removeAttribute('src')
  redraw()
}

// recall shows the picture of before the page was loaded.
export async function recall() {
  const kept = await draft('init')
  if (kept) await load(kept.blob, kept)
}

const keep = later(500, () => keepDraft('init', blob && { blob, base: base && base.blob, strokes }).catch(() => {}))

// Painting

// mask returns the painted parts white on black, as a data URL.
export async function mask() {
  const flat = new OffscreenCanvas(canvas.width, canvas.height), to = flat.getContext('2d')
  const fill = (how, with_) => {
    to.globalCompositeOperation = how
    to.fillStyle = with_
    to.fillRect(0, 0, flat.width, flat.height)
  }
  to.drawImage(canvas, 0, 0)
  fill('source-in', '#fff')
  fill('destination-over', '#000')
  return dataURL(await flat.convertToBlob({ type: 'image/png' }))
}

function redraw() {
  pen.clearRect(0, 0, canvas.width, canvas.height)
  if (base) pen.drawImage(base.canvas, 0, 0)
  for (const stroke of strokes) draw(stroke, 0)
  tell()
}

function tell() {
  $('undo').disabled = strokes.length === 0
  $('redo').disabled = undone.length === 0
  $('clear-mask').disabled = strokes.length === 0 && !base
  keep()
  changed()
}

// draw paints a stroke from one of its points on.
function draw({ erase, width, points }, from) {
  pen.globalCompositeOperation = erase ? 'destination-out' : 'source-over'
  pen.strokeStyle = colour
  pen.lineCap = pen.lineJoin = 'round'
  pen.lineWidth = width
  pen.beginPath()
  pen.moveTo(points[from], points[from + 1])
  for (let i = from; i < points.length; i += 2) pen.lineTo(points[i], points[i + 1])
  pen.stroke()
  pen.globalCompositeOperation = 'source-over'
}

// painted makes a mask to paint on of a black and white picture.
async function painted(file) {
  const bitmap = await createImageBitmap(file)
  const flat = new OffscreenCanvas(canvas.width, canvas.height), to = flat.getContext('2d')
  to.drawImage(bitmap, 0, 0, flat.width, flat.height)
  const pixels = to.getImageData(0, 0, flat.width, flat.height)
  const [red, green, blue] = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16))
  for (let i = 0; i < pixels.data.length; i += 4) { // what is dark lets the picture through
    pixels.data[i + 3] = Math.round(pixels.data[i] * pixels.data[i + 3] / 255)
    pixels.data.set([red, green, blue], i)
  }
  to.putImageData(pixels, 0, 0)
  return { canvas: flat, blob: file }
}

$('mask-file').onchange = async event => {
  const [file] = event.target.files
  event.target.value = ''
  if (!file) return
  base = await painted(file)
  strokes = []
  undone = []
  redraw()
}
$('undo').onclick = undo
$('redo').onclick = redo
$('clear-mask').onclick = () => {
  base = null
  strokes = []
  undone = []
  redraw()
}
$('erase').onclick = () => $('erase').setAttribute('aria-pressed', String(!erasing()))
const erasing = () => $('erase').getAttribute('aria-pressed') === 'true'

function undo() {
  if (strokes.length === 0) return
  undone.push(strokes.pop())
  redraw()
}
function redo() {
  if (undone.length === 0) return
  strokes.push(undone.pop())
  redraw()
}

// Zoom: the stage lies in its frame, larger and moved.

let view = { scale: 1, x: 0, y: 0 }
const largest = 8

function arrange() {
  const least = size => size * (1 - view.scale)
  view.x = Math.min(0, Math.max(least(frame.clientWidth), view.x))
  view.y = Math.min(0, Math.max(least(frame.clientHeight), view.y))
  stage.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`
  $('zoom').textContent = `${Math.round(view.scale * 100)} %`
}

// zoom changes the scale and keeps the point at x, y of the frame where it is.
function zoom(factor, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
  const scale = Math.min(largest, Math.max(1, view.scale * factor))
  const k = scale / view.scale
  view = { scale, x: x - (x - view.x) * k, y: y - (y - view.y) * k }
  arrange()
}

addEventListener('resize', arrange) // a telephone is turned
$('zoom-in').onclick = () => zoom(1.5)
$('zoom-out').onclick = () => zoom(1 / 1.5)
frame.addEventListener('wheel', event => {
  if (!event.ctrlKey && !event.metaKey) return // the page scrolls
  event.preventDefault()
  const box = frame.getBoundingClientRect()
  zoom(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top)
}, { passive: false })

// Pointers: one paints, two move and zoom, as does one with the space key.

const pointers = new Map()
let stroke = null, space = false

// at is a point of the screen in pixels of the picture.
function at(event) {
  const box = canvas.getBoundingClientRect()
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height]
}

canvas.onpointerdown = event => {
  canvas.setPointerCapture(event.pointerId)
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY })
  if (pointers.size === 2 && stroke) { // the first finger was no brush
    stroke = null
    redraw()
  }
  if (pointers.size > 1 || space || event.button !== 0) return
  const pixels = canvas.width / canvas.getBoundingClientRect().width
  stroke = { erase: erasing(), width: $('brush').value * pixels, points: at(event) }
  draw(stroke, 0)
}

canvas.onpointermove = event => {
  const before = pointers.get(event.pointerId)
  if (!before) return
  const now = { x: event.clientX, y: event.clientY }
  if (stroke) {
    const from = stroke.points.length - 2
    stroke.points.push(...at(event))
    draw(stroke, from)
  } else if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, p]) => p)
    const apart = p => Math.hypot(p.x - other.x, p.y - other.y) || 1
    const box = frame.getBoundingClientRect()
    move((now.x - before.x) / 2, (now.y - before.y) / 2)
    zoom(apart(now) / apart(before), (now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top)
  } else move(now.x - before.x, now.y - before.y)
  pointers.set(event.pointerId, now)
}

canvas.onpointerup = canvas.onpointercancel = event => {
  pointers.delete(event.pointerId)
  if (!stroke) return
  strokes.push(stroke)
  undone = []
  stroke = null
  tell()
}

function move(x, y) {
  view.x += x
  view.y += y
  arrange()
}

const writing = () => document.activeElement?.matches('input, textarea, select, button, summary')

addEventListener('keydown', event => {
  if (!has() || document.querySelector('dialog[open]')) return
  if (event.key === ' ' && !writing()) {
    space = true
    event.preventDefault()
  }
  if (!(event.ctrlKey || event.metaKey) || document.activeElement?.matches('input:not([type=radio], [type=range]), textarea')) return
  const key = event.key.toLowerCase()
  if (key === 'z' && !event.shiftKey) undo()
  else if (key === 'y' || key === 'z') redo()
  else return
  event.preventDefault()
})
addEventListener('keyup', event => { if (event.key === ' ') space = false })
