"""The upload page of the HTTP server: one file, no network but this server."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>kwise</title>
<style>
 body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem;
   color: #1c2733; background: #fbfbfa }
 form, pre { border: 1px solid #d5d9dd; border-radius: 8px; padding: 1rem; background: #fff; overflow: auto }
 button { font: inherit; padding: .3rem 1rem; margin-top: .8rem }
 .bad { color: #a1260d }
 @media (prefers-color-scheme: dark) {
   body { color: #dde3e9; background: #14181c } form, pre { background: #1c2227; border-color: #3a444d }
   .bad { color: #ff9d87 } }
</style>
<h1>kwise</h1>
<p>A scan of any format kwise reads (MRD, fastMRI, CMRxRecon, BART as .cfl and .hdr, numpy, NIfTI, DICOM).
It stays on this server until it is answered.</p>
<form id="form">
 <label>scan <input type="file" name="file" multiple required></label>
 <br><button name="format" value="json">numbers</button>
 <button name="format" value="zip">all files (.zip)</button>
</form>
<p id="said" role="status"></p>
<pre id="answer" hidden></pre>
<p>For research: kwise is no medical device.</p>
<script>
const said = document.getElementById('said'), answer = document.getElementById('answer')
document.getElementById('form').addEventListener('submit', async event => {
  event.preventDefault()
  const format = event.submitter?.value || 'json', form = new FormData(event.target)
  said.className = ''; said.textContent = 'answering ...'; answer.hidden = true
  try {
    const reply = await fetch('predict?format=' + format, {method: 'POST', body: form})
    if (!reply.ok) throw new Error((await reply.json()).error)
    if (format === 'zip') {
      const link = document.createElement('a')
      link.href = URL.createObjectURL(await reply.blob()); link.download = 'kwise.zip'; link.click()
      said.textContent = 'done'
      return
    }
    const facts = await reply.json(), ef = facts.area_ejection_fraction_percent
    said.textContent = ef === null ? 'done' : `area ejection fraction ${ef.toFixed(1)} %`
    answer.textContent = JSON.stringify(facts, null, 1); answer.hidden = false
  } catch (error) { said.className = 'bad'; said.textContent = error.message }
})
</script>
</html>
"""
