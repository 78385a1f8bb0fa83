// The dialog with one picture.

const $ = id => document.getElementById(id)
const dialog = $('viewer')

let shown
let handlers = {}

// on sets what the buttons do: useSeed(seed) and useImage(src).
export const on = given => { handlers = given }

// open shows {src, text, seed, name}.
export function open(picture) {
  shown = picture
  const image = dialog.querySelector('img')
  image.src = picture.src
  image.alt = picture.text.split('\n')[0] || 'Picture'
  dialog.querySelector('pre').textContent = picture.text
  $('download').href = picture.src
  $('download').download = picture.name + '.' + picture.src.slice('data:image/'.length, picture.src.indexOf(';')).replace('jpeg', 'jpg')
  $('use-seed').hidden = picture.seed === undefined
  $('copy').textContent = 'Copy text'
  dialog.showModal()
}

$('close').onclick = () => dialog.close()
dialog.onclick = event => { if (event.target === dialog) dialog.close() } // beside it
$('copy').onclick = async () => {
  await navigator.clipboard.writeText(shown.text)
  $('copy').textContent = 'Copied'
}
$('use-seed').onclick = () => {
  handlers.useSeed(shown.seed)
  dialog.close()
}
$('use-image').onclick = () => {
  handlers.useImage(shown.src)
  dialog.close()
}
