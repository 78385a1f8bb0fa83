// Writing prompts: the count of tokens, emphasis by keys, styles and tags.

import { call } from './api.js'
import { $, later, make, save, saved } from './dom.js'
import { changed, field, onChange } from './form.js'

const boxes = [field.prompt, field.negative_prompt]

// Tokens

let counted = ''

const count = later(250, async () => {
  const asked = JSON.stringify([boxes.map(box => box.value), styles(), field.steps.value])
  if (asked === counted) return
  counted = asked
  for (const box of boxes) {
    try {
      const { count, limit } = await call('POST', 'webui/tokens', {
        text: box.value, styles: styles(), negative: box === field.negative_prompt, steps: Number(field.steps.value) || 20,
      })
      if (asked !== counted) return // there is a newer text
      $(box.name + '-tokens').textContent = `${count}/${limit}`
      $(box.name + '-tokens').classList.toggle('beyond', limit > 75)
    } catch {
      counted = '' // the request for a picture will tell
    }
  }
})

// grow makes a box as high as its text.
function grow(box) {
  box.style.height = 'auto'
  box.style.height = `${box.scrollHeight + 2}px`
}

onChange(() => {
  count()
  for (const box of boxes) grow(box)
})

// Emphasis

const step = { weight: 0.1, network: 0.05 } // as in A1111

for (const box of boxes) {
  box.addEventListener('keydown', event => {
    if ((event.key === 'ArrowUp' || event.key === 'ArrowDown') && (event.ctrlKey || event.metaKey)) {
      event.preventDefault()
      emphasise(box, event.key === 'ArrowUp' ? 1 : -1)
    }
  })
}

// emphasise changes the weight of what is selected, of the brackets or the tag around
// the cursor, or of the word there.
export function emphasise(box, direction) {
  const { value } = box
  let { selectionStart: start, selectionEnd: end } = box
  const tag = around(value, start, end, /<[^<>]*?:([-\d.]+)>/g)
  if (tag) return weigh(box, tag.start, tag.end, tag.number, tag.numberStart, direction * step.network)
  const bracket = around(value, start, end, /\([^()]*?:([-\d.]+)\)/g)
  if (bracket) {
    const weight = rounded(bracket.number + direction * step.weight)
    if (weight !== 1) return weigh(box, bracket.start, bracket.end, bracket.number, bracket.numberStart, direction * step.weight)
    const inner = value.slice(bracket.start + 1, bracket.numberStart - 1)
    return replace(box, bracket.start, bracket.end, inner, 0, inner.length)
  }
  if (start === end) {
    while (start > 0 && !/[\s,()[\]<>|]/.test(value[start - 1])) start--
    while (end < value.length && !/[\s,()[\]<>|]/.test(value[end])) end++
  }
  while (end > start && value[end - 1] === ' ') end--
  const text = value.slice(start, end)
  if (text) replace(box, start, end, `(${text}:${rounded(1 + direction * step.weight)})`, 1, text.length + 1)
}

const rounded = number => Math.round(number * 100) / 100

// around finds the match of a pattern with a number in it that holds the selection.
function around(value, from, to, pattern) {
  for (const m of value.matchAll(pattern)) {
    const start = m.index, end = start + m[0].length
    if (start <= from && to <= end) return { start, end, number: Number(m[1]), numberStart: end - 1 - m[1].length }
  }
}

function weigh(box, start, end, number, numberStart, by) {
  const text = box.value.slice(start, numberStart) + rounded(number + by) + box.value[end - 1]
  replace(box, start, end, text, 1, numberStart - start - 1)
}

// replace puts a text in a box so that the browser can undo it, and selects a part.
function replace(box, start, end, text, from, to) {
  box.focus()
  box.setSelectionRange(start, end)
  if (!document.execCommand('insertText', false, text)) box.setRangeText(text, start, end)
  box.setSelectionRange(start + from, start + to)
  changed()
}

// insert adds a text at the end of a prompt, behind a comma unless it is a tag.
export function insert(text, box = field.prompt) {
  const before = box.value.trimEnd()
  const joint = !before ? '' : text.startsWith('<') || before.endsWith(',') ? ' ' : ', '
  replace(box, box.value.length, box.value.length, before === box.value ? joint + text : joint.trimStart() + text, 0, 0)
  box.setSelectionRange(box.value.length, box.value.length)
}

// remove takes a text out again, with a comma before it.
export function remove(text, box = field.prompt) {
  const at = box.value.indexOf(text)
  if (at < 0) return
  const before = box.value.slice(0, at).replace(/,?\s*$/, '')
  replace(box, before.length, at + text.length, '', 0, 0)
}

// Styles

let chosen = saved('styles', [])

export const styles = () => chosen

export function setStyles(names) {
  chosen = [...new Set(names)]
  save('styles', chosen)
  $('styles').replaceChildren(...chosen.map(name => make('li', {}, make('button', {
    type: 'button', textContent: name, title: 'Remove this style', className: 'chip',
    onclick: () => setStyles(chosen.filter(n => n !== name)),
  }))))
  changed()
}
