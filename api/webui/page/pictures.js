// Pictures as the page, the server and the clipboard have them.

// dataURL is a blob as the API takes pictures.
export const dataURL = blob => new Promise((resolve, reject) => {
  const reader = new FileReader()
  reader.onload = () => resolve(reader.result)
  reader.onerror = () => reject(reader.error)
  reader.readAsDataURL(blob)
})

// fromBase64 makes a blob of a picture of the API; the kind shows in its first
// characters.
export function fromBase64(data) {
  const kind = { iVBO: 'png', '/9j/': 'jpeg', UklG: 'webp' }[data.slice(0, 4)] || 'png'
  return new Blob([Uint8Array.from(atob(data), c => c.charCodeAt(0))], { type: `image/${kind}` })
}

// load decodes a blob into an image element.
export async function load(image, blob) {
  const before = image.src
  image.src = URL.createObjectURL(blob)
  if (before.startsWith('blob:')) URL.revokeObjectURL(before)
  await image.decode()
}

// drawn returns the picture of an image element as a PNG, as the browser shows it:
// turned as a camera says, and of any format that the browser reads.
export function drawn(image) {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight)
  canvas.getContext('2d').drawImage(image, 0, 0)
  return canvas.convertToBlob({ type: 'image/png' })
}

const thumbnailSide = 320

// thumbnail is a small copy of a picture with the picture's size.
export async function thumbnail(blob) {
  const bitmap = await createImageBitmap(blob)
  const { width, height } = bitmap
  const scale = Math.min(1, thumbnailSide / Math.max(width, height))
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)))
  const pen = canvas.getContext('2d')
  pen.imageSmoothingQuality = 'high'
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  bitmap.close()
  return { thumb: await canvas.convertToBlob({ type: 'image/webp', quality: 0.85 }), width, height }
}

// fileIn is the picture among what was dropped or pasted, or undefined.
export function fileIn(transfer) {
  return [...transfer.files].find(file => file.type.startsWith('image/'))
}

// takesPictures calls use(blob) for pictures that are chosen with a label's input or
// dropped on the label.
export function takesPictures(label, use) {
  const input = label.querySelector('input[type=file]')
  input.onchange = () => {
    if (input.files[0]) use(input.files[0])
    input.value = ''
  }
  label.addEventListener('drop', event => {
    const file = fileIn(event.dataTransfer)
    if (!file) return
    event.preventDefault()
    event.stopPropagation()
    document.dispatchEvent(new Event('dropped'))
    use(file)
  })
}
