// The requests that the form stands for.

import * as canvas from './canvas.js'
import * as control from './control.js'
import * as detailer from './detailer.js'
import * as extensions from './extensions.js'
import { field, number } from './form.js'
import { server } from './lists.js'
import { overrides } from './parameters.js'
import { styles } from './prompt.js'
import * as scripts from './scripts.js'
import * as soft from './soft.js'

const numbers = (body, ...names) => { for (const name of names) body[name] = number(name) }

// request returns the endpoint of /v1/jobs and its input.
export async function request() {
  const mode = field.mode.value
  if (mode !== 'txt2img' && !canvas.has()) throw new MissingPicture()
  return { endpoint: mode === 'extras' ? 'extra-single-image' : mode, input: await makers[mode]() }
}

// MissingPicture is the lack of a picture to start from.
export class MissingPicture extends Error {}

const makers = { txt2img, img2img, extras }

async function common() {
  const body = {
    prompt: field.prompt.value, negative_prompt: field.negative_prompt.value, styles: styles(),
    sampler_name: field.sampler_name.value, scheduler: field.scheduler.value, tiling: field.tiling.checked,
    override_settings: options(), alwayson_scripts: { ...await control.args(), ...detailer.args(), ...await extensions.args() }, ...scripts.request(),
  }
  numbers(body, 'steps', 'cfg_scale', 'width', 'height', 'batch_size', 'n_iter', 'seed', 'subseed', 'subseed_strength', 'seed_resize_from_w', 'seed_resize_from_h')
  if (field.refiner_checkpoint.value) {
    body.refiner_checkpoint = field.refiner_checkpoint.value
    numbers(body, 'refiner_switch_at')
  }
  return body
}

function options() {
  const set = { ...overrides() }
  if (field.model.value) set.sd_model_checkpoint = field.model.value
  if (field.sd_vae.value) set.sd_vae = field.sd_vae.value
  if (field.clip_skip.value) set.CLIP_stop_at_last_layers = number('clip_skip')
  for (const name of ['cfg_rescale', 'step_cache']) if (field[name].value) set[name] = number(name)
  if (server.options.show_progress_type?.startsWith('Approx')) set.show_progress_every_n_steps = 1 // they cost next to nothing
  return set
}

async function txt2img() {
  const body = await common()
  if (!field.enable_hr.checked) return body
  Object.assign(body, { enable_hr: true, denoising_strength: number('hr_denoising') })
  numbers(body, 'hr_scale', 'hr_second_pass_steps', 'hr_resize_x', 'hr_resize_y')
  for (const name of ['hr_upscaler', 'hr_checkpoint_name', 'hr_sampler_name', 'hr_scheduler', 'hr_prompt', 'hr_negative_prompt']) {
    if (field[name].value) body[name] = field[name].value
  }
  return body
}

async function img2img() {
  const body = { ...await common(), init_images: [await canvas.image()] }
  numbers(body, 'denoising_strength', 'resize_mode')
  if (!canvas.hasMask()) return body
  body.mask = await canvas.mask()
  Object.assign(body.alwayson_scripts, soft.args())
  body.inpaint_full_res = field.inpaint_full_res.value === 'true'
  numbers(body, 'mask_blur', 'inpainting_fill', 'inpaint_full_res_padding', 'inpainting_mask_invert')
  return body
}

async function extras() {
  const body = {
    image: await canvas.image(), resize_mode: number('extras_resize_mode'), upscaling_crop: field.upscaling_crop.checked,
    upscaler_1: field.upscaler_1.value, upscaler_2: field.upscaler_2.value,
  }
  numbers(body, 'extras_upscaler_2_visibility', 'upscaling_resize', 'upscaling_resize_w', 'upscaling_resize_h')
  return body
}
