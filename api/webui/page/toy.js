// What the demo model can draw, when it is chosen.

import { $, make } from './dom.js'
import { changed, field, form, keepDefaults, set } from './form.js'
import { server } from './lists.js'

const shown = 5 // of the prompts

// start makes the fields suit the demo model where the server has chosen it.
export function start() {
  if (!chosen()) return
  suit()
  keepDefaults()
}

const chosen = () => Boolean(server.toys.titles?.includes(field.model.value))

function suit() {
  const { side, steps, sampler } = server.toys
  set('width', side)
  set('height', side)
  set('steps', steps)
  set('sampler_name', sampler)
}

// tell says what the model is, with prompts that it can draw.
export function tell() {
  $('toy').hidden = !chosen()
  if ($('toy').hidden || $('toy-prompts').children.length) return
  $('toy-prompts').replaceChildren(...server.toys.prompts.slice(0, shown).map(prompt => make('button', {
    type: 'button', className: 'chip', textContent: prompt,
    onclick: () => {
      set('prompt', prompt)
      set('mode', 'txt2img')
      suit()
      changed()
      form.requestSubmit()
    },
  })))
}
