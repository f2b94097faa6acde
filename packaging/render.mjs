// Renders the program's output as HTML: the Markdown of its summaries, its logging
// commands as the agent shows them, and its colors. It supports only what the
// program uses.

export const escape = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

const CLASSES = { 1: 'b', 2: 'f', 31: 'r', 32: 'g', 33: 'y' };

// ansiToHTML converts SGR sequences to spans and drops all others.
export function ansiToHTML(text) {
  let open = 0;
  const close = () => '</span>'.repeat(open);
  const html = text.replaceAll('\r\n', '\n').split(/(\x1b\[[0-9;]*[A-Za-z])/).map((part) => {
    const [, codes] = /^\x1b\[([0-9;]*)m$/.exec(part) ?? [];
    if (codes === undefined) return part.startsWith('\x1b[') ? '' : escape(part);
    if (codes === '' || codes === '0') {
      const closed = close();
      open = 0;
      return closed;
    }
    const classes = codes.split(';').map((code) => CLASSES[code]).filter(Boolean);
    if (classes.length === 0) return '';
    open += 1;
    return `<span class="${classes.join(' ')}">`;
  }).join('');
  return html + close();
}

const unescape = (text) => text.replaceAll('%3B', ';').replaceAll('%0D', '\r').replaceAll('%0A', '\n').replaceAll('%5D', ']').replaceAll('%AZP25', '%');

// commandsToHTML shows a step's log as Azure DevOps does: issues as colored lines,
// other commands hidden.
export function commandsToHTML(log) {
  return log.split('\n').flatMap((line) => {
    const [, event, properties, data] = /##vso\[task\.(\w+) ?([^\]]*)\](.*)/.exec(line) ?? [];
    if (event === undefined) return [escape(line)];
    if (event !== 'logissue') return [];
    const kind = /type=error/.test(properties) ? 'error' : 'warning';
    return [`<span class="${kind}">##[${kind}]${escape(unescape(data))}</span>`];
  }).join('\n').trim();
}

// markdownToHTML supports headings, tables, lists, paragraphs, bold, code, blocks of
// code, and the HTML in the summaries.
export function markdownToHTML(markdown) {
  const html = [];
  const lines = markdown.split('\n');
  const cells = (line) => line.replace(/^\||\|$/g, '').split(/(?<!\\)\|/).map((each) => inline(each.trim()));
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at];
    const heading = /^(#+) (.*)$/.exec(line);
    const item = /^(?:-|(\d+)\.) (.*)$/.exec(line);
    if (heading) {
      html.push(`<h${heading[1].length}>${inline(heading[2])}</h${heading[1].length}>`);
    } else if (line.startsWith('|')) {
      html.push(`<table><tr>${cells(line).map((each) => `<th>${each}</th>`).join('')}</tr>`);
      for (at += 2; lines[at]?.startsWith('|'); at += 1) html.push(`<tr>${cells(lines[at]).map((each) => `<td>${each}</td>`).join('')}</tr>`);
      html.push('</table>');
      at -= 1;
    } else if (item) {
      const list = item[1] ? 'ol' : 'ul';
      const items = [];
      for (; /^(?:-|\d+\.) /.test(lines[at] ?? ''); at += 1) items.push(`<li>${inline(lines[at].replace(/^(?:-|\d+\.) /, ''))}</li>`);
      html.push(`<${list}>${items.join('')}</${list}>`);
      at -= 1;
    } else if (line.startsWith('```')) {
      const block = [];
      for (at += 1; at < lines.length && !lines[at].startsWith('```'); at += 1) block.push(escape(lines[at]));
      html.push(`<pre>${block.join('\n')}</pre>`);
    } else if (line.startsWith('<')) {
      html.push(line);
    } else if (line !== '') {
      html.push(`<p>${inline(line)}</p>`);
    }
  }
  return html.join('\n');
}

// inline keeps character references, which the program writes.
function inline(text) {
  return text.split(/(`[^`]*`)/).map((part) => {
    if (part.startsWith('`')) return `<code>${escape(part.slice(1, -1)).replaceAll('*', '&#42;')}</code>`;
    return part.replace(/<(?!br>)/g, '&lt;').replace(/\\([|*_`[\]\\])/g, '$1');
  }).join('').replace(/\*\*([^*]+)\*\*/g, '<b>$1</b>');
}
