// The class in the side bar: everything that was said and sent, for who comes late or missed it.

import { handButton } from './class_item.js';
import { endText, fileText, materialsText, sender, visitorsText, withheldText } from './class_words.js';

const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16"><g class="jp-icon3" fill="#616161">' +
  '<path d="M3 4h18v11h-8v2l4 3h-3l-2-1.500-2 1.500h-3l4-3v-2H3zm2 2v7h14V6z"/></g></svg>';

function element(tag, className, text = '') {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

function section(title, ...content) {
  const node = element('section', 'berth-ClassPanel-section');
  const heading = element('h3', 'berth-ClassPanel-heading', title);
  heading.id = `berth-class-${title.toLowerCase()}`;
  node.setAttribute('aria-labelledby', heading.id);
  node.append(heading, ...content);
  return node;
}

function time(iso) {
  const node = element('time', 'berth-ClassPanel-time');
  node.dateTime = iso;
  node.textContent = new Date(iso).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return node;
}

function link(text, act) {
  const node = element('button', 'berth-ClassPanel-link', text);
  node.type = 'button';
  node.addEventListener('click', act);
  return node;
}

/**
 * @param {object} lab - JupyterLab's libraries
 * @param {{toggle: Function, openFile: Function, openFolder: Function, fetch: Function}} actions
 */
export function makePanel(lab, actions) {
  const { LabIcon } = lab['ui-components'];

  return new (class extends lab.widgets.Widget {
    constructor() {
      super({ node: document.createElement('div') });
      this.id = 'berth-lab-class';
      this.title.icon = new LabIcon({ name: 'berth-lab:class', svgstr: ICON });
      this.addClass('berth-ClassPanel');
      this.node.setAttribute('role', 'region');
      this.node.setAttribute('aria-label', 'Class');
      this._title = element('h2', 'berth-ClassPanel-title');
      this._end = element('p', 'berth-ClassPanel-end');
      this._visitors = element('p', 'berth-ClassPanel-visitors');
      this._hand = handButton('berth-ClassPanel-hand', actions.toggle);
      this._messages = element('ol', 'berth-ClassPanel-list');
      this._messages.setAttribute('aria-live', 'polite');
      this._files = element('ol', 'berth-ClassPanel-list');
      this._withheld = element('p', 'berth-ClassPanel-withheld');
      this._materials = element('p', '');
      const again = link('Get them again', actions.fetch);
      const folder = link('Open the folder', actions.openFolder);
      this._materialsSection = section('Materials', this._materials, folder, ' ', again);
      this._filesSection = section('Files', this._withheld, this._files);
      this.node.append(
        this._title,
        this._end,
        this._hand.node,
        this._visitors,
        section('Messages', this._messages),
        this._filesSection,
        this._materialsSection
      );
    }

    draw(part, seconds, { viewer, visiting, news }) {
      const caption = news ? `Class (${news} new)` : 'Class';
      if (this.title.caption !== caption) {
        this.title.caption = caption;
        this.title.className = news ? 'berth-mod-news' : '';
      }
      this._say(this._title, [part.title, part.session_title].filter(Boolean).join(': '));
      this._say(this._end, [endText(part, seconds), ...(part.exam ? ['Exam mode'] : [])].join(' · '));
      this._say(this._visitors, visitorsText(part, viewer));
      this._hand.update(part, visiting);
      this._list(this._messages, part.messages, message => this._message(message), 'Nothing has been said yet.');
      this._say(this._withheld, withheldText(part));
      this._filesSection.hidden = !part.files.length && this._withheld.hidden;
      this._list(this._files, part.files, file => this._file(file), '');
      this._say(this._materials, materialsText(part));
      this._materialsSection.hidden = !this._materials.textContent;
    }

    /** Fill a list, the newest first; what is the same stays, with its focus. */
    _list(node, items, make, empty) {
      const key = JSON.stringify(items);
      if (node.dataset.key === key) {
        return;
      }
      node.dataset.key = key;
      const made = items.length ? [...items].reverse().map(make) : [element('li', 'berth-ClassPanel-empty', empty)];
      node.replaceChildren(...made);
    }

    _message(message) {
      const node = element('li', `berth-ClassPanel-item berth-mod-${message.kind}`);
      const head = element('div', 'berth-ClassPanel-head');
      head.append(element('strong', '', sender(message)), ' ', time(message.at));
      node.append(head, element('div', 'berth-ClassPanel-text', message.text));
      return node;
    }

    _file(file) {
      const node = element('li', 'berth-ClassPanel-item');
      const head = element('div', 'berth-ClassPanel-head');
      head.append(time(file.at));
      node.append(head, element('div', 'berth-ClassPanel-text', fileText(file)));
      if (file.outcome !== 'failed') {
        node.append(link(`Open ${file.path}`, () => actions.openFile(file.path)));
      }
      return node;
    }

    _say(node, text) {
      if (node.textContent !== text) {
        node.textContent = text;
      }
      node.hidden = !text;
    }
  })();
}
