// The picture to start from, and the mask that is painted over it.

const $ = id => document.getElementById(id)
const colour = [224, 33, 138] // seldom in pictures

const canvas = $('mask'), picture = $('init-picture'), pen = canvas.getContext('2d')

let painted = false
let changed = () => {}

// onChange calls f whenever there is another picture or mask.
export const onChange = f => { changed = f }

// image is the picture as a data URL, or null.
export const image = () => picture.hasAttribute('src') ? picture.src : null

// hasMask tells whether anything is painted.
export const hasMask = () => image() !== null && painted

// mask returns the painted parts white on black, as a data URL.
export function mask() {
  const flat = document.createElement('canvas')
  flat.width = canvas.width
  flat.height = canvas.height
  const to = flat.getContext('2d')
  const fill = (how, colour) => {
    to.globalCompositeOperation = how
    to.fillStyle = colour
    to.fillRect(0, 0, flat.width, flat.height)
  }
  to.drawImage(canvas, 0, 0)
  fill('source-in', '#fff')
  fill('destination-over', '#000')
  return flat.toDataURL('image/png')
}

// load shows a picture, given as a file or a data URL.
export async function load(source) {
  picture.src = source instanceof Blob ? await dataURL(source) : source
  await picture.decode()
  canvas.width = picture.naturalWidth
  canvas.height = picture.naturalHeight
  clear()
}

export function remove() {
  picture.removeAttribute('src')
  $('init').value = ''
  clear()
}

export function clear() {
  pen.clearRect(0, 0, canvas.width, canvas.height)
  $('mask-file').value = ''
  painted = false
  changed()
}

// size is that of the picture in pixels.
export const size = () => ({ width: picture.naturalWidth, height: picture.naturalHeight })

const dataURL = blob => new Promise((resolve, reject) => {
  const reader = new FileReader()
  reader.onload = () => resolve(reader.result)
  reader.onerror = () => reject(reader.error)
  reader.readAsDataURL(blob)
})

// loadMask takes a black and white picture for the mask.
async function loadMask(file) {
  const bitmap = await createImageBitmap(file)
  pen.clearRect(0, 0, canvas.width, canvas.height)
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height)
  for (let i = 0; i < pixels.data.length; i += 4) { // what is dark lets the picture through
    pixels.data[i + 3] = Math.round(pixels.data[i] * pixels.data[i + 3] / 255)
    pixels.data.set(colour, i)
  }
  pen.putImageData(pixels, 0, 0)
  painted = true
  changed()
}

$('mask-file').onchange = event => { if (event.target.files[0]) loadMask(event.target.files[0]) }

// Painting: coordinates are those of the picture, whatever its size on screen.
let from = null
const at = event => {
  const box = canvas.getBoundingClientRect()
  return { x: (event.clientX - box.left) * canvas.width / box.width, y: (event.clientY - box.top) * canvas.height / box.height, scale: canvas.width / box.width }
}
canvas.onpointerdown = event => {
  canvas.setPointerCapture(event.pointerId)
  from = at(event)
  stroke(from)
}
canvas.onpointermove = event => {
  if (!from) return
  const to = at(event)
  stroke(to)
  from = to
}
canvas.onpointerup = canvas.onpointercancel = () => { from = null }

function stroke(to) {
  pen.strokeStyle = `rgb(${colour})`
  pen.lineCap = 'round'
  pen.lineWidth = $('brush').value * to.scale
  pen.beginPath()
  pen.moveTo(from.x, from.y)
  pen.lineTo(to.x, to.y)
  pen.stroke()
  if (!painted) {
    painted = true
    changed()
  }
}
