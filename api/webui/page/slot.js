// A place of the form for a picture, which outlives a reload of the page.

import { load, takesPictures } from './pictures.js'
import { draft, keepDraft } from './storage.js'

export class Slot {
  blob = null

  // The label has an input for files and an image. changed is called with "" when there is
  // another picture or none, and with a sentence for a file that is no picture.
  constructor(label, name, changed) {
    Object.assign(this, { name, changed, image: label.querySelector('img') })
    takesPictures(label, blob => this.take(blob).catch(() => changed('This file is no picture that the browser can read.')))
  }

  async take(blob) {
    await load(this.image, blob)
    this.blob = blob
    this.image.hidden = false
    keepDraft(this.name, blob).catch(() => {}) // no room: it is here until the page is closed
    this.changed('')
  }

  drop() {
    if (!this.blob) return
    this.blob = null
    this.image.hidden = true
    keepDraft(this.name, null).catch(() => {})
    this.changed('')
  }

  // recall shows the picture of before the page was loaded.
  async recall() {
    const kept = await draft(this.name).catch(() => undefined)
    if (kept) await this.take(kept).catch(() => {})
  }
}
