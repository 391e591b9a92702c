"""The page's style: dark on white, narrow screens and paper included. No font, image or script comes from elsewhere."""

STYLE = """
:root { --ink: #1d1d1f; --soft: #55585d; --line: #d9dbde; --wash: #f5f6f7; --link: #00568a;
  --good: #00568a; --bad: #9c3d00; --warn: #fff4d6; --warn-line: #b58100; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 76rem; background: #fff; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
a { color: var(--link); text-underline-offset: 2px; }
a:focus-visible, summary:focus-visible { outline: 3px solid #e69f00; outline-offset: 2px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.08rem; margin: 2rem 0 .5rem; }
h4 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p, ul, ol, dl { max-width: 50rem; }
.lead { color: var(--soft); margin-top: 0; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: .5rem; background: #fff; padding: .5rem; z-index: 2; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0; margin: 1rem 0 0; }
.banners { display: grid; gap: .5rem; margin: 1.25rem 0; padding: 0; list-style: none; max-width: none;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
.banners li { padding: .6rem .9rem; border: 1px solid var(--line); border-left: .4rem solid var(--good); }
.banners li.generated { background: var(--warn); border-color: #e8cf8d; border-left: .4rem solid var(--warn-line); }
.banners b { display: block; }
.banners small { color: var(--soft); }
.banners li.generated small { color: #4b4433; }
.answers { padding-left: 1.3rem; }
.answers li { margin: .65rem 0; }
.answers b { display: block; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .5rem 0 1rem; }
caption { text-align: left; padding: .25rem 0 .5rem; color: var(--soft); }
caption b { color: var(--ink); }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; font-weight: 600; }
tbody th { font-weight: 600; }
tr.group th { background: var(--wash); padding: .45rem .6rem; font-size: .95rem; }
tr.group small { font-weight: 400; color: var(--soft); }
td small, th small, .cell small { display: block; color: var(--soft); font-weight: 400; font-size: .8rem;
  line-height: 1.35; }
.value { font-size: 1.05rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.num { font-variant-numeric: tabular-nums; white-space: nowrap; }
.cell + .cell { margin-top: .6rem; }
.verdict { display: block; font-size: .8rem; line-height: 1.35; font-weight: 600; }
.verdict.beats { color: var(--good); }
.verdict.loses { color: var(--bad); }
.verdict.unclear, .verdict.none, .verdict.undefined { color: var(--soft); }
.loses .value { color: var(--bad); }
.scroll { overflow-x: auto; }
figure { margin: 1.5rem 0 2rem; }
figure h3 { margin-bottom: .5rem; }
figcaption { max-width: 56rem; font-size: .92rem; color: #33363a; }
.panels { display: grid; gap: 1rem 1.5rem; margin: .5rem 0 .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); align-items: start; }
.panels.paired { grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); max-width: 62rem; }
table.narrow { width: auto; min-width: 36rem; font-size: .85rem; }
table.narrow td, table.narrow th { padding-right: 1.5rem; }
.paired .panel p { min-height: 2.7em; }
.panel { margin: 0; break-inside: avoid; }
.panel p { margin: 0 0 .25rem; font-size: .88rem; font-weight: 600; }
.panel img { display: block; max-width: 100%; height: auto; }
.csv { font-size: .85rem; white-space: nowrap; }
.none-said { padding: .5rem .9rem; background: var(--wash); border-left: .3rem solid var(--soft); max-width: 50rem; }
details { margin: .5rem 0 1rem; }
summary { cursor: pointer; color: var(--link); padding: .2rem 0; }
td details { margin: .15rem 0 0; font-size: .8rem; }
td details ul { margin: .15rem 0; padding-left: 1rem; }
code, .version { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .82em;
  overflow-wrap: anywhere; }
.bar { display: block; width: 7rem; max-width: 100%; height: .45rem; background: #e3e5e8; margin-top: .25rem; }
.bar i { display: block; height: 100%; background: #0072b2; }
table.lineage { table-layout: fixed; }
table.lineage th:first-child { width: 24%; }
table.lineage th:nth-child(2) { width: 18%; }
table.lineage th:last-child { width: 22%; }
.facts { margin: .15rem 0; padding-left: 1rem; font-size: .82rem; overflow-wrap: anywhere; }
.cards { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.card { border: 1px solid var(--line); padding: .7rem .9rem; font-size: .88rem; break-inside: avoid; min-width: 0; }
.card h4 { margin: 0 0 .35rem; }
.card dl { margin: 0; display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem .75rem; }
.card dt { color: var(--soft); }
.card dd { margin: 0; overflow-wrap: anywhere; }
.columns { display: grid; gap: 0 2.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.columns > * { min-width: 0; }
:target { background: #fff4d6; outline: 2px solid #b58100; outline-offset: 2px; scroll-margin-top: 1rem; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 54rem) {
  body { padding: 1rem .9rem 3rem; }
  table.stack, table.stack tbody, table.stack tr, table.stack th, table.stack td { display: block; width: 100%; }
  table.stack caption { display: block; }
  table.stack thead { position: absolute; left: -999rem; }
  table.stack tbody tr { border: 1px solid var(--line); padding: .5rem .75rem; margin-bottom: .75rem; }
  table.stack tbody tr.group { border: 0; padding: 0; }
  table.stack td, table.stack tbody th { border: 0; padding: .2rem 0; }
  table.stack tbody tr.group th { padding: .45rem .6rem; }
  table.stack td[data-label] { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: .5rem; }
  table.stack td[data-label]::before { content: attr(data-label); color: var(--soft); font-size: .82rem; }
  table.stack td[data-label] > .full { min-width: 0; overflow-wrap: anywhere; }
  table.lineage th:first-child { width: 100%; }
  .paired .panel p { min-height: 0; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .csv, .skip { display: none; }
  a { color: inherit; text-decoration: none; }
  h2, h3, h4 { break-after: avoid; }
  tr, .card, .panel, li { break-inside: avoid; }
  .banners li, .bar, .bar i, tr.group th { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
