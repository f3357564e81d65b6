/**
 * The style sheet of a page. Colours of text have a contrast of at least 4.5 on what they lie on. Scales go from little to
 * much in one hue, so that they can be told apart without seeing colours; on a dark page they go from dark to light.
 */
export const style = `
:root { color-scheme: light dark;
  --page: #fbfcfd; --card: #fff; --ink: #1b232c; --pale: #57626f; --rule: #d8dee5; --soft: #eef2f6; --accent: #1f6fb5;
  --warn: #7a3e00; --warn-card: #fff4e2; --warn-rule: #d98a1f; --removed: #e0902f; --cut: #8a2b06;
  --s0: #e6ebf0; --s1: #cfe3f7; --s2: #94c4ec; --s3: #5ba5e0; --s4: #1f6fb5; --s5: #0b3d70;
  --e0: #e6ebf0; --e1: #fde6c4; --e2: #f8c98b; --e3: #e8973c; --e4: #a9540a; --e5: #6b3502;
  --on-pale: #0d1b2a; --on-strong: #fff; --f0: #1f6fb5; --f1: #b4570a; --f2: #17795a; --f3: #8b4a9c; }
@media screen and (prefers-color-scheme: dark) { :root {
  --page: #12171d; --card: #1a2129; --ink: #e4eaf0; --pale: #a3afbc; --rule: #34404c; --soft: #232c36; --accent: #7dbbee;
  --warn: #ffd9a3; --warn-card: #33261a; --warn-rule: #c9852f; --removed: #e0902f; --cut: #ffb27d;
  --s0: #2c3641; --s1: #16395c; --s2: #1f5688; --s3: #5ba5e0; --s4: #94c9f3; --s5: #d3eaff;
  --e0: #2c3641; --e1: #4a2f12; --e2: #77480f; --e3: #d98a2b; --e4: #f2b96d; --e5: #ffe3ba;
  --on-pale: #eef4fa; --on-strong: #08131f; --f0: #7dbbee; --f1: #f0a868; --f2: #7fcfae; --f3: #d2a2e0; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; z-index: 1; padding: .5rem .75rem; background: var(--card); color: var(--accent); }
header, main { max-width: 72rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; }
main { padding-bottom: 4rem; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.75rem 0 .75rem; font-size: 1.125rem; line-height: 1.3; }
h3 { margin: 1.25rem 0 .25rem; font-size: .9375rem; }
p { margin: .25rem 0; }
.small, section > p, figure p, .map-of-layers > p, .legend p, figcaption span { color: var(--pale); font-size: .875rem; }
ul { margin: .25rem 0; padding-left: 1.25rem; overflow-wrap: anywhere; }
li { margin: .25rem 0; }
.facts { display: flex; flex-wrap: wrap; gap: .25rem 2rem; padding: 0; list-style: none; }
.facts li { margin: 0; }
code, pre { font-family: ui-monospace, monospace; font-size: .8125rem; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.size { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .75rem; margin: 1.25rem 0 0; font-size: 2.5rem;
  font-weight: 650; line-height: 1.2; letter-spacing: -.01em; font-variant-numeric: tabular-nums; }
.size span { color: var(--pale); font-weight: 400; }
.warnings { margin-top: 1.5rem; padding: .75rem 1.25rem; background: var(--warn-card); color: var(--warn);
  border: 1px solid var(--warn-rule); border-left-width: 6px; border-radius: 4px; }
.warnings h2 { margin: 0; font-size: 1rem; }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 6px; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
.sizes { max-width: 40rem; margin-top: 1rem; }
th, td { padding: .375rem .75rem; text-align: left; vertical-align: baseline; white-space: nowrap; border-top: 1px solid var(--rule); }
thead th, thead td { border-top: 0; }
thead th { color: var(--pale); font-weight: 600; }
tbody th { font-weight: 500; }
tbody th bdi { display: block; min-width: 9rem; max-width: 26rem; white-space: normal; overflow-wrap: anywhere; }
.n { text-align: right; }
.bar { background: linear-gradient(to right, var(--s1) var(--share), transparent 0) no-repeat right / 5rem 100%; }
@media screen and (prefers-color-scheme: dark) { .bar { background-image: linear-gradient(to right, var(--s2) var(--share), transparent 0); } }
tr:target { background: var(--warn-card); }
.map { position: relative; height: clamp(20rem, 40vw, 27.5rem); margin-top: .75rem; }
.map a { position: absolute; overflow: hidden; border: 1px solid var(--page); border-radius: 3px; text-decoration: none;
  font-size: .75rem; line-height: 15px; }
.map a:focus-visible { outline: 3px solid var(--ink); outline-offset: 0; z-index: 1; }
.map a:hover { outline: 2px solid var(--ink); }
.map span { position: absolute; inset: 3px 5px; block-size: round(down, 100% - 6px, 15px); overflow: hidden; overflow-wrap: anywhere; }
.map small { display: block; font-size: inherit; font-variant-numeric: tabular-nums; }
.labelled { container-type: size; }
@container (width < 3.25rem) or (height < 1.5rem) { .map span { display: none; } }
.s0, .s1, .s2, .s3 { color: var(--on-pale); }
.s4, .s5 { color: var(--on-strong); }
@media screen and (prefers-color-scheme: dark) { .s3 { color: var(--on-strong); } }
${[0, 1, 2, 3, 4, 5].map((step) => `.s${step} { background: var(--s${step}); }`).join('\n')}
${[0, 1, 2, 3, 4, 5].map((step) => `.legend .e${step}, .map-of-layers:has(#by-error:checked) .e${step} { background: var(--e${step}); }`).join('\n')}
${onError()}
fieldset { display: flex; gap: .25rem 1rem; margin: .5rem 0; padding: 0; border: 0; font-size: .875rem; }
legend { float: left; margin-right: 1rem; padding: 0; color: var(--pale); }
label { display: inline-flex; align-items: center; gap: .35rem; min-height: 1.5rem; }
input { accent-color: var(--accent); margin: 0; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .875rem; }
.legend ul, .keys { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: .25rem 0; padding: 0; list-style: none; }
.legend li, .keys li { display: inline-flex; align-items: center; gap: .4rem; margin: 0; }
.of-error, .map-of-layers:has(#by-error:checked) .of-sparsity { display: none; }
.map-of-layers:has(#by-error:checked) .of-error { display: flex; }
.legend i { width: 1rem; height: 1rem; border: 1px solid var(--rule); border-radius: 3px; }
figure { margin: 0; min-width: 0; }
figcaption { overflow-wrap: anywhere; font-size: .875rem; }
figure strong { font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--pale); font: 12px system-ui, sans-serif; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.75rem 2rem; }
.pictures svg { margin: .5rem 0 .25rem; }
.curve { max-width: 44rem; }
.grid path, .axis path { stroke: var(--rule); fill: none; }
.axis path { stroke: var(--pale); }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.line { fill: none; stroke-width: 2; stroke-opacity: .6; }
${[0, 1, 2, 3].map((form) => `.form-${form} path { stroke: var(--f${form}); } .form-${form} path:not(.line) { fill: var(--f${form}); }`).join('\n')}
.target path { stroke: var(--ink); stroke-dasharray: 5 4; }
.target text { fill: var(--ink); }
.chosen { fill: none; stroke: var(--ink); stroke-width: 2; }
.keys svg { width: 1rem; }
.kept { fill: var(--f0); }
.removed { fill: var(--removed); }
.cut { stroke: var(--cut); stroke-width: 1.5; stroke-dasharray: 4 3; }
.key { display: inline-block; width: 1rem; height: .75rem; border-radius: 2px; vertical-align: baseline; }
.key.kept { background: var(--f0); } .key.removed { background: var(--removed); } .key.hole { background: var(--card); border: 1px solid var(--f0); }
.hole { fill: var(--card); }
details { margin: .5rem 0; border: 1px solid var(--rule); border-radius: 6px; background: var(--card); }
.names { columns: 18rem; margin: 0; padding: .5rem 2rem; border-top: 1px solid var(--rule); font-size: .875rem; }
summary { padding: .5rem .75rem; cursor: pointer; font-size: .9375rem; overflow-wrap: anywhere; }
pre { margin: 0; padding: .75rem; overflow-x: auto; border-top: 1px solid var(--rule); line-height: 1.45; tab-size: 2; }
@media (max-width: 40rem) {
  header, main { padding-left: 1rem; padding-right: 1rem; }
  .size { font-size: 1.75rem; }
  .curve svg text { font-size: 17px; }
  th, td { padding: .375rem .5rem; }
  tbody th bdi { min-width: 7rem; max-width: 11rem; }
}
@media print {
  * { print-color-adjust: exact; }
  body { font-size: 10pt; background: #fff; }
  fieldset { display: none; }
  .scroll, pre { overflow: visible; border: 0; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  table { font-size: 8pt; }
  th, td { padding: 2pt 4pt; }
  tr, figure, .map, .warnings { break-inside: avoid; }
  h2 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
`;

/** Colours of text on the scale of errors, which may differ from those on the other scale. */
function onError(): string {
  const at = (steps: readonly number[]) =>
    steps.map((step) => `.map-of-layers:has(#by-error:checked) .e${step}`).join(', ');
  return `${at([0, 1, 2, 3])} { color: var(--on-pale); }
${at([4, 5])} { color: var(--on-strong); }
@media screen and (prefers-color-scheme: dark) { ${at([3])} { color: var(--on-strong); } }`;
}
