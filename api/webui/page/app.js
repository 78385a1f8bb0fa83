// The page as a whole: what its parts do with each other.

import * as canvas from './canvas.js'
import * as control from './control.js'
import * as detailer from './detailer.js'
import * as extensions from './extensions.js'
import { $, save, saved } from './dom.js'
import { changed, clearErrors, field, form, now, onChange, recall, reset, set, showProblem, valid } from './form.js'
import * as gallery from './gallery.js'
import * as jobs from './jobs.js'
import * as lists from './lists.js'
import * as parameters from './parameters.js'
import { fileIn, takesPictures } from './pictures.js'
import './picker.js'
import { setStyles, styles } from './prompt.js'
import { MissingPicture, request } from './request.js'
import * as scripts from './scripts.js'
import * as toy from './toy.js'
import * as viewer from './viewer.js'

// Theme

const theme = $('theme')
theme.value = saved('theme', theme.value)
const applyTheme = () => {
  document.documentElement.style.colorScheme = theme.value
  save('theme', theme.value)
}
theme.onchange = applyTheme
applyTheme()

// The form

form.onsubmit = async event => {
  event.preventDefault()
  if (!valid()) return
  $('init-error').textContent = ''
  try {
    await jobs.submit(await request())
  } catch (problem) {
    if (problem instanceof MissingPicture) {
      $('init-error').textContent = 'Choose a picture first.'
      $('init').focus()
    } else showProblem(problem)
  }
}

addEventListener('keydown', event => {
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || document.querySelector('dialog[open]')) return
  event.preventDefault()
  form.requestSubmit()
})

$('random').onclick = () => {
  set('seed', -1)
  changed()
}
$('swap').onclick = () => {
  [field.width.value, field.height.value] = [field.height.value, field.width.value]
  changed()
}
$('refresh').onclick = () => lists.refresh().then(() => {
  control.fill()
  detailer.fill()
  scripts.fill()
  changed()
}).catch(showProblem)
$('reset').onclick = () => {
  if (!confirm('Set the whole form back? The pictures that were made stay.')) return
  clearErrors()
  const mode = field.mode.value
  reset()
  set('mode', mode)
  setStyles([])
  parameters.setOverrides({})
  detailer.use([])
  for (const part of [control, extensions, scripts]) part.reset()
  canvas.remove()
  changed()
}
field.script_name.addEventListener('input', scripts.show)

onChange(() => {
  now('model-section', field.model.selectedOptions[0]?.text ?? 'none found')
  now('hires', field.enable_hr.checked ? 'on' : '')
  now('variation', [field.subseed_strength.value > 0 && field.subseed_strength.value, field.tiling.checked && 'tiling'].filter(Boolean).join(', '))
  $('soft').hidden = !field.soft_enable.checked
  form.classList.toggle('sized', field.extras_resize_mode.value === '1')
  scripts.fill()
  toy.tell()
})

// The picture to start from

canvas.onChange(() => {
  $('with-image').hidden = !canvas.has()
  $('drop').hidden = canvas.has()
  $('inpainting').hidden = !(canvas.hasMask() && field.mode.value === 'img2img')
})

const least = 64, longest = 768 // beyond it Stable Diffusion 1.x repeats itself

async function startFrom(blob, mode = field.mode.value) {
  $('init-error').textContent = ''
  try {
    await canvas.load(blob)
  } catch {
    canvas.remove()
    $('init-error').textContent = 'This file is no picture that the browser can read.'
    return
  }
  set('mode', mode === 'inpaint' || mode === 'txt2img' ? 'img2img' : mode)
  const { width, height } = canvas.size(), scale = Math.min(1, longest / Math.max(width, height))
  set('width', Math.max(least, Math.floor(width * scale / 8) * 8))
  set('height', Math.max(least, Math.floor(height * scale / 8) * 8))
  changed()
  $('start').scrollIntoView({ block: 'nearest' })
}

takesPictures($('drop'), startFrom)
$('no-image').onclick = canvas.remove

// Pictures from anywhere: dropped on a place for one they go there, else their
// parameters are shown.

async function inspect(blob) {
  try {
    const text = await parameters.textOf(blob)
    await viewer.open([{ text, name: blob.name?.replace(/\.\w+$/, '') ?? 'picture', blob: async () => blob }], 0)
  } catch (problem) {
    showProblem(problem)
  }
}

let entered = 0
const dropping = on => {
  entered = Math.max(0, entered + on)
  $('dropping').hidden = entered === 0
}
const carriesFile = event => event.dataTransfer?.types.includes('Files')
addEventListener('dragenter', event => { if (carriesFile(event)) dropping(1) })
addEventListener('dragleave', event => { if (carriesFile(event)) dropping(-1) })
addEventListener('dragover', event => { if (carriesFile(event)) event.preventDefault() })
document.addEventListener('dropped', () => dropping(-entered))
addEventListener('drop', event => {
  dropping(-entered)
  const file = event.dataTransfer && fileIn(event.dataTransfer)
  if (!file) return
  event.preventDefault()
  inspect(file)
})
addEventListener('paste', event => {
  const file = fileIn(event.clipboardData)
  if (!file) return
  event.preventDefault()
  if (field.mode.value !== 'txt2img' && !canvas.has()) startFrom(file)
  else inspect(file)
})

viewer.on({
  use: async text => {
    clearErrors()
    return parameters.use(text)
  },
  useSeed: seed => {
    set('seed', seed)
    changed()
  },
  useImage: startFrom,
  useControl: control.take,
})

// The start

async function start() {
  await lists.load()
  detailer.fill()
  toy.start()
  recall()
  scripts.fill()
  recall() // the script, which is offered by the mode
  setStyles(styles())
  parameters.offerOptions()
  parameters.showOverrides()
  await Promise.all([canvas.recall().catch(() => {}), control.start(), extensions.recall(), gallery.start()])
  scripts.fill()
  changed()
  jobs.restore()
}

start().then(() => document.body.classList.add('ready')).catch(problem => { $('problem').textContent = problem.message })
