// One picture with its parameters, and two beside each other.

import { $, make } from './dom.js'
import { drawn, load } from './pictures.js'
import { show, split } from './parameters.js'

const dialog = $('viewer'), image = dialog.querySelector('img'), note = $('viewer-note')

let list = [], at = 0, shown = null // shown: {entry, blob}
let first = null // the picture to compare with
const handlers = {}

// on adds what the buttons do: use(text), useSeed(seed), useImage(blob, mode),
// useControl(blob) and forget(entry). The first returns sentences to show.
export const on = given => Object.assign(handlers, given)

// choose is the click on a picture of a list: it is shown, or compared with the one
// that waits.
export function choose(entries, index) {
  if (first) return compare(first, entries[index])
  open(entries, index)
}

// open shows a picture of a list of {text, name, blob()}. Those with a time are kept in
// the gallery.
export async function open(entries, index) {
  list = entries
  $('delete').hidden = $('compare').hidden = entries[index].time === undefined
  dialog.classList.toggle('alone', entries.length < 2)
  await step(index - at)
  if (!dialog.open) dialog.showModal()
}

async function step(by) {
  at = (at + by + list.length) % list.length
  const entry = list[at], blob = await entry.blob()
  if (entry !== list[at]) return // a key was quicker
  shown = { entry, blob }
  await load(image, blob).catch(() => {})
  image.alt = entry.text.split('\n')[0] || 'Picture'
  show($('parameters'), entry.text)
  const { naturalWidth: width, naturalHeight: height } = image
  dialog.querySelector('.position').textContent = `${list.length > 1 ? `${at + 1} of ${list.length}, ` : ''}${width} × ${height}`
  $('download').href = image.src
  $('download').download = `${entry.name}.${blob.type.replace('image/', '').replace('jpeg', 'jpg')}`
  $('use-all').hidden = $('copy').hidden = !entry.text
  $('use-seed').hidden = seed() === undefined
  note.textContent = ''
}

const seed = () => split(shown.entry.text).pairs.find(([key]) => key === 'Seed')?.[1]

$('previous').onclick = () => step(-1)
$('next').onclick = () => step(1)
$('close').onclick = () => dialog.close()
dialog.onkeydown = event => {
  if (event.key === 'ArrowLeft') step(-1)
  if (event.key === 'ArrowRight') step(1)
}
dialog.onclick = event => { if (event.target === dialog) dialog.close() } // beside it

// A swipe goes to the next picture.
let from = null
const area = dialog.querySelector('.picture-area')
area.onpointerdown = event => { from = event.pointerType === 'mouse' ? null : event.clientX }
area.onpointerup = event => {
  if (from !== null && Math.abs(event.clientX - from) > 50) step(event.clientX < from ? 1 : -1)
  from = null
}
area.onpointercancel = () => { from = null }

const then = (id, what) => { $(id).onclick = () => { Promise.resolve(what()).catch(problem => { note.textContent = problem.message }) } }

then('use-all', async () => {
  const missing = await handlers.use(shown.entry.text)
  if (missing.length) note.textContent = missing.join(' ')
  else dialog.close()
})
then('use-seed', () => {
  handlers.useSeed(seed())
  dialog.close()
})
for (const [id, mode] of [['use-image', 'img2img'], ['use-inpaint', 'inpaint'], ['use-extras', 'extras']]) {
  then(id, async () => {
    await handlers.useImage(shown.blob, mode)
    dialog.close()
  })
}
then('use-control', async () => {
  dialog.close()
  await handlers.useControl(shown.blob)
})
then('copy', async () => {
  await navigator.clipboard.writeText(shown.entry.text)
  note.textContent = 'The text is copied.'
})
then('copy-image', async () => {
  const png = shown.blob.type === 'image/png' ? shown.blob : await drawn(image)
  await navigator.clipboard.write([new ClipboardItem({ 'image/png': png })])
  note.textContent = 'The picture is copied.'
})
then('delete', async () => {
  const gone = list[at]
  const rest = list.filter(e => e !== gone)
  await handlers.forget(gone)
  if (rest.length === 0) return dialog.close()
  list = rest
  at = Math.min(at, rest.length - 1)
  await step(0)
})

// Comparing: the second picture lies over the first one and is cut off.

const comparison = $('comparison'), divide = $('divide')

then('compare', () => {
  first = shown.entry
  dialog.close()
  $('choose-second').hidden = false
})
$('cancel-compare').onclick = () => {
  first = null
  $('choose-second').hidden = true
}

async function compare(one, other) {
  $('cancel-compare').onclick()
  await Promise.all([load($('compare-a'), await one.blob()), load($('compare-b'), await other.blob())])
  $('differences').replaceChildren(...differences(one.text, other.text))
  divide.value = 50
  divide.oninput()
  comparison.showModal()
}

divide.oninput = () => comparison.style.setProperty('--divide', `${divide.value}%`)
$('close-comparison').onclick = () => comparison.close()

// differences are the rows of a table of what two texts do not share.
function differences(one, other) {
  const [a, b] = [one, other].map(text => {
    const { prompt, negative, pairs } = split(text)
    return new Map([['Prompt', prompt], ['Negative prompt', negative], ...pairs])
  })
  const keys = [...new Set([...a.keys(), ...b.keys()])].filter(key => a.get(key) !== b.get(key))
  return keys.map(key => make('tr', {}, make('th', { scope: 'row', textContent: key }), ...[a, b].map(m => make('td', { textContent: m.get(key) ?? '' }))))
}
