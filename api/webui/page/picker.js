// The dialog that adds LoRAs, embeddings and styles to the prompt.

import { $, bytes, make } from './dom.js'
import { field } from './form.js'
import { server } from './lists.js'
import { insert, remove, setStyles, styles } from './prompt.js'

const dialog = $('picker'), search = $('picker-search')

$('open-picker').onclick = () => {
  search.value = ''
  show()
  dialog.showModal()
}
$('close-picker').onclick = () => dialog.close()
dialog.onclick = event => { if (event.target === dialog) dialog.close() }
search.oninput = show

function show() {
  const wanted = search.value.toLowerCase()
  const matching = list => list.filter(x => [x.name, ...(x.triggers ?? [])].some(text => text.toLowerCase().includes(wanted)))
  const groups = [
    ['LoRAs', matching(server.loras).map(file => network('lora', file))],
    ['Hypernetworks', matching(server.hypernetworks).map(file => network('hypernet', file))],
    ['Embeddings', matching(server.embeddings).map(embedding)],
    ['Styles', matching(server.styles).map(style)],
  ].filter(([, rows]) => rows.length > 0)
  $('picker-list').replaceChildren(...groups.flatMap(([title, rows]) => [make('h3', { textContent: title }), make('ul', {}, ...rows)]))
  if (groups.length === 0) {
    $('picker-list').replaceChildren(make('p', {
      className: 'hint', textContent: wanted ? 'Nothing of this name.' : 'There is no LoRA, embedding or style yet. Put files into the folders Lora and embeddings.',
    }))
  }
}

// row is one line: a switch with a name, facts about it, and more buttons.
function row(name, facts, on, toggle, ...more) {
  const button = make('button', { type: 'button', className: 'pick', 'aria-pressed': String(on), onclick: () => { toggle(); show() } },
    make('b', { textContent: name }), make('span', { className: 'hint', textContent: facts }))
  return make('li', {}, button, ...more)
}

// network is a file that a tag of its kind names.
function network(kind, file) {
  const tag = new RegExp(`<${kind}:${escaped(file.name)}(:[^<>]*)?>`)
  const found = field.prompt.value.match(tag)?.[0]
  const facts = [file.kind, file.bytes && bytes(file.bytes)].filter(Boolean).join(', ')
  const words = (file.triggers ?? []).map(word => make('button', {
    type: 'button', className: 'chip', textContent: word, title: 'Add this word', onclick: () => insert(word),
  }))
  const triggers = words.length ? [make('div', { className: 'triggers' }, make('span', { className: 'hint', textContent: 'Trigger words' }), ...words)] : []
  return row(file.name, facts, found, () => found ? remove(found) : insert(`<${kind}:${file.name}:1>`), ...triggers)
}

function embedding(file) {
  const negative = field.negative_prompt
  const word = new RegExp(`(^|[^\\w])${escaped(file.name)}($|[^\\w])`)
  const there = make('button', {
    type: 'button', className: 'chip', textContent: 'To negative', title: 'Add to the negative prompt', onclick: () => insert(file.name, negative),
  })
  const on = word.test(field.prompt.value)
  return row(file.name, file.kind, on, () => on ? remove(file.name) : insert(file.name), there)
}

function style({ name, prompt, negative_prompt: negative }) {
  const on = styles().includes(name)
  return row(name, [prompt, negative && `not: ${negative}`].filter(Boolean).join('; '), on,
    () => setStyles(on ? styles().filter(n => n !== name) : [...styles(), name]))
}

const escaped = text => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
