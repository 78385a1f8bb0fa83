// Scripts that act beside the selected one: regions, guidance and dynamic prompts. The first
// argument switches one on; the others are shown then. All are fields of the form.

import { fieldOf, held, labelled } from './arguments.js'
import { $, make } from './dom.js'
import { field, now, onChange, onProblem, set } from './form.js'
import { server } from './lists.js'
import { dataURL } from './pictures.js'
import { Slot } from './slot.js'

// without are arguments and choices that do nothing here, by their places; sent are values that the
// form does not ask for, mask is the place of a picture, and labels are other words.
const all = [
  {
    key: 'prompter', script: 'regional prompter', part: 'regions', title: 'Regional Prompter',
    about: 'ADDCOL, ADDROW or BREAK in the prompt begins the next part of the picture.',
    without: [1, 4, 5, 11, 13, 14, 15, 17, 18, 'Use LoHa or other', 'debug', 'debug2'], sent: { 11: 'Latent' }, mask: 16, labels: { 19: 'Flip "," and ";"' },
  },
  {
    key: 'couple', script: 'latent couple extension', part: 'regions', title: 'Latent Couple',
    about: 'AND in the prompt begins the next part; each has a division, a position and a weight.', labels: { 4: 'End at this step' },
  },
  { key: 'freeu', script: 'freeu integrated (sd 1.x, sd 2.x, sdxl)', part: 'guidance', title: 'FreeU', about: 'Stronger backbone, weaker skip connections.' },
  {
    key: 'stages', script: 'freeu', part: 'guidance', title: 'FreeU by stages', about: 'The same with the settings of sd-webui-freeu.',
    labels: { 4: 'Version' },
  },
  {
    key: 'pag', script: 'perturbedattentionguidance integrated', part: 'guidance', title: 'Perturbed-attention guidance',
    about: 'Away from a prediction without attention. Each step takes half as long again.',
  },
  { key: 'apg', script: '"apg\'s now your cfg" for reforge', part: 'guidance', title: 'Adaptive projected guidance', about: 'Less saturation at high CFG scales.' },
  { key: 'zero', script: 'cfg-zero*', part: 'guidance', title: 'CFG-Zero*', about: 'The negative prediction is scaled to fit before it is taken away.' },
  {
    key: 'threshold', script: 'dynamic thresholding (cfg scale fix)', part: 'guidance', title: 'Dynamic thresholding',
    about: 'High CFG scales with the contrast of the mimicked one.',
  },
  {
    key: 'dynamic', script: 'dynamic prompts v2.17.1', part: 'dynamic', title: 'Dynamic prompts',
    about: '{red|blue} and __wildcards__ in prompts become another text for each picture.', without: [3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17],
    labels: { 15: 'At most (0: all)' },
  },
]
const parts = ['regions', 'guidance', 'dynamic']

class Extension {
  constructor(given) {
    Object.assign(this, { without: [], sent: {}, labels: {} }, given)
    this.args = server.scripts.find(s => s.name === this.script).args
    this.body = make('div', { className: 'block further', hidden: true }, make('p', { className: 'hint', textContent: this.about }), this.fields())
    if (this.mask) this.addMask()
    $(this.part + '-fields').append(labelled(this.title, make('input', { type: 'checkbox', name: this.name(0) })), this.body)
  }

  name(i) { return `${this.key}_${i}` }
  on() { return field[this.name(0)].checked }
  choices(arg) { return arg.choices.filter(choice => !this.without.includes(choice)) }
  asks(i) { return i > 0 && i !== this.mask && !this.without.includes(i) }

  fields() {
    const rows = this.args.map((arg, i) => this.asks(i) && this.field(arg, i)).filter(Boolean)
    return make('div', { className: 'row' }, ...rows)
  }

  field(arg, i) {
    const label = this.labels[i] ?? arg.label
    if (Array.isArray(arg.value)) {
      const boxes = this.choices(arg).map((choice, n) => labelled(choice, make('input', { type: 'checkbox', name: `${this.name(i)}_${n}` })))
      return make('fieldset', { className: 'wide block' }, make('legend', { textContent: label }), ...boxes)
    }
    const limits = arg.maximum === null ? '' : `${arg.minimum} to ${arg.maximum}`
    const row = labelled(label, fieldOf(arg, { name: this.name(i), title: limits }))
    if (typeof arg.value === 'boolean') row.classList.add('wide')
    return row
  }

  // addMask makes the place for the picture of mode Mask.
  addMask() {
    const picture = make('label', { className: 'drop small' }, make('input', { type: 'file', accept: 'image/*', className: 'hidden' }),
      make('span', {}, make('b', { textContent: 'Choose the mask' }), ' of the regions: one colour for each'), make('img', { alt: 'Mask of the regions', hidden: true }))
    const problem = make('p', { className: 'error' }), remove = make('button', { type: 'button', textContent: 'Remove mask', disabled: true })
    this.slot = new Slot(picture, this.key + '-mask', text => {
      problem.textContent = text
      remove.disabled = !this.slot.blob
    })
    remove.onclick = () => this.slot.drop()
    this.masked = make('div', { className: 'block' }, picture, make('div', { className: 'actions small' }, remove), problem)
    this.body.append(this.masked)
  }

  tell() {
    this.body.hidden = !this.on()
    if (this.mask) this.masked.hidden = field[this.name(2)].value !== 'Mask'
  }

  async request() {
    const args = this.args.map((arg, i) => {
      if (i in this.sent) return this.sent[i]
      if (!this.asks(i)) return i === 0 ? true : arg.value
      return Array.isArray(arg.value) ? this.choices(arg).filter((_, n) => field[`${this.name(i)}_${n}`].checked) : held(field[this.name(i)])
    })
    if (this.slot?.blob) args[this.mask] = await dataURL(this.slot.blob)
    return { args }
  }

  use(args) {
    set(this.name(0), Boolean(args?.[0]))
    for (const [i, value] of (args ?? []).entries()) {
      if (!this.asks(i) || value === null) continue
      if (Array.isArray(value)) this.choices(this.args[i]).forEach((choice, n) => set(`${this.name(i)}_${n}`, value.includes(choice)))
      else set(this.name(i), value)
    }
  }
}

let extensions = []

// fill makes the fields, once the server has said what arguments there are.
export function fill() {
  extensions = all.map(given => new Extension(given))
}

// recall shows pictures of before the page was loaded, and reset forgets them.
export const recall = () => Promise.all(extensions.map(e => e.slot?.recall()))
export const reset = () => extensions.forEach(e => e.slot?.drop())

// use takes the arguments of a picture, by script, and the scripts whose masks it does
// not hold; those that are not named are off. It returns sentences about what could not be taken.
export function use(given, masked) {
  for (const e of extensions) e.use(given?.[e.script])
  return extensions.filter(e => masked.includes(e.script) && !e.slot?.blob).map(e => `The masks of ${e.title} are not in the file.`)
}

// args are those that are on as a request has them.
export async function args() {
  const on = extensions.filter(e => e.on())
  return Object.fromEntries(await Promise.all(on.map(async e => [e.script, await e.request()])))
}

onChange(() => {
  for (const e of extensions) e.tell()
  for (const part of parts) now(part, extensions.filter(e => e.part === part && e.on()).map(e => e.title).join(', '))
})

onProblem(message => {
  const e = extensions.find(e => e.on() && message.toLowerCase().includes(e.script))
  const [, i] = message.match(/argument (\d+) of/) ?? []
  return e && (field[e.name(i ?? 0)] ?? field[e.name(0)])
})
