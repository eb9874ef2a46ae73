// The item in the status bar, and what is announced to screen readers.

import { sentence, short } from './words.js';

const SOON = 600; // seconds

export function makeItem(lab, open) {
  const { Widget } = lab.widgets;

  return new (class extends Widget {
    constructor() {
      super({ node: document.createElement('div') });
      this.addClass('berth-Lease');
      this._button = document.createElement('button');
      this._button.type = 'button';
      this._button.className = 'berth-Lease-button';
      this._button.setAttribute('aria-haspopup', 'dialog');
      this._button.addEventListener('click', open);
      // The countdown is not announced: each change would interrupt. Changes of another kind are.
      this._live = document.createElement('span');
      this._live.className = 'berth-Lease-live';
      this._live.setAttribute('role', 'status');
      this._live.setAttribute('aria-live', 'polite');
      this.node.append(this._button, this._live);
      this.update(null, 0, '');
    }

    /** Show a lease with its seconds left, or nothing; `trouble` is a short remark behind it. */
    update(lease, seconds, trouble) {
      this._button.hidden = !lease;
      if (!lease) {
        return;
      }
      this._set('textContent', trouble ? `${short(lease, seconds)} · ${trouble}` : short(lease, seconds));
      const label = sentence(lease, seconds);
      if (this._button.title !== label) {
        this._button.title = label;
        this._button.setAttribute('aria-label', trouble ? `${label} ${trouble}.` : label);
      }
      this._button.classList.toggle('berth-mod-soon', seconds < SOON || Boolean(trouble));
    }

    announce(text) {
      this._live.textContent = text;
    }

    _set(name, value) {
      if (this._button[name] !== value) {
        this._button[name] = value;
      }
    }
  })();
}
