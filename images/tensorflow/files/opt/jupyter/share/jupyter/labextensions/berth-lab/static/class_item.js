// A class in the status bar: how long it lasts, and the button that asks for help.

import { endText, handLabel, left } from './class_words.js';

const SOON = 600; // seconds

const HAND =
  'M4.6 9.3V4.4a1 1 0 0 1 2 0V7.6M6.6 7.6V2.7a1 1 0 0 1 2 0V7.6M8.6 7.6V3.3a1 1 0 0 1 2 0V8M10.6 8V5.1a1 1 0 0 1 2 0' +
  'v5.2c0 2.5-1.8 4.2-4.2 4.2-1.8 0-2.9-.8-3.8-2.2L2.6 9.7c-.6-1 .7-1.9 1.4-1l.6.7';

/** A drawing of a hand, in the colour of the text around it. */
export function handIcon() {
  const icon = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  icon.setAttribute('viewBox', '0 0 16 16');
  icon.setAttribute('aria-hidden', 'true');
  icon.classList.add('berth-Class-icon');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', HAND);
  icon.append(path);
  return icon;
}

/** A button that raises and lowers a hand, wherever it stands. */
export function handButton(className, toggle) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = className;
  const text = document.createElement('span');
  button.append(handIcon(), text);
  button.addEventListener('click', toggle);
  return {
    node: button,
    /** Show where a hand is; whoever visits sees it only where it is raised. */
    update(part, visiting) {
      const { hand } = part;
      button.hidden = part.staff || (visiting && !hand.raised);
      const label = visiting ? `Lower the hand of ${part.owner}` : handLabel(hand);
      if (text.textContent !== label) {
        text.textContent = label;
      }
      button.title = hand.raised ? 'Lower the hand' : 'Ask for help';
      button.setAttribute('aria-pressed', String(hand.raised));
      button.classList.toggle('berth-mod-raised', hand.raised);
    }
  };
}

export function makeClassItem(lab, { open, toggle }) {
  return new (class extends lab.widgets.Widget {
    constructor() {
      super({ node: document.createElement('div') });
      this.addClass('berth-Class');
      this._title = document.createElement('button');
      this._title.type = 'button';
      this._title.className = 'berth-Class-title';
      this._title.addEventListener('click', open);
      this._hand = handButton('berth-Class-hand', toggle);
      this._live = document.createElement('span');
      this._live.className = 'berth-Class-live';
      this._live.setAttribute('role', 'status');
      this._live.setAttribute('aria-live', 'polite');
      this.node.append(this._title, this._hand.node, this._live);
      this.draw(null, 0, {});
    }

    /** Show a class with its seconds left, or nothing; `timed` where nothing else says how long it lasts. */
    draw(part, seconds, { timed, visiting, news }) {
      this._title.hidden = !part;
      if (!part) {
        this._hand.node.hidden = true;
        return;
      }
      const text = [part.title, ...(timed ? [left(seconds)] : []), ...(news ? [`${news} new`] : [])].join(' · ');
      if (this._title.textContent !== text) {
        this._title.textContent = text;
      }
      const label = `${part.title}. ${endText(part, seconds)}. Show the class.`;
      if (this._title.title !== label) {
        this._title.title = label;
      }
      this._title.classList.toggle('berth-mod-soon', Boolean(timed) && seconds < SOON);
      this._hand.update(part, visiting);
    }

    announce(text) {
      if (text) {
        this._live.textContent = text;
      }
    }
  })();
}
