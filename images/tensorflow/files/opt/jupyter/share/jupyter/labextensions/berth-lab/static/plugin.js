// Shows the lease and the class, passes on the hub's messages, saves when told to.

import { Channel } from './channel.js';
import { Classroom } from './classroom.js';
import { askRelease, askRestart, showLease, showText } from './dialogs.js';
import { reload, saveAll } from './documents.js';
import { makeItem } from './item.js';
import { Notices } from './notices.js';
import { Presence } from './presence.js';
import { clock, what } from './words.js';

const CATEGORY = 'GPU lease';
const FRESH = 30000; // milliseconds from when a page first reaches its server
const SAVE_SECONDS = 10; // before the user's own release or restart

/** Build the plugin from JupyterLab's libraries. */
export function plugin(lab) {
  return {
    id: 'berth-lab:lease',
    description: 'Shows the lease of a GPU, extends and releases it.',
    autoStart: true,
    requires: [lab.docmanager.IDocumentManager],
    optional: [lab.statusbar.IStatusBar, lab.apputils.ICommandPalette],
    activate: (app, documents, statusBar, palette) => new Lease(lab, app, documents, statusBar, palette)
  };
}

class Lease {
  constructor(lab, app, documents, statusBar, palette) {
    this._lab = lab;
    this._app = app;
    this._documents = documents;
    this._state = { on: false, lease: null, class: null, messages: [] };
    this._received = performance.now();
    this._connected = false;
    this._leaving = '';
    const style = document.createElement('link');
    style.rel = 'stylesheet';
    style.href = new URL('style.css', import.meta.url).href;
    document.head.append(style);

    this._item = makeItem(lab, () => app.commands.execute('berth:lease'));
    statusBar?.registerStatusItem('berth-lab:lease', { item: this._item, align: 'middle', rank: 1 });
    this._addCommands(palette);
    const run = command => () => app.commands.execute(command);
    const actions = {
      extend: { label: 'Extend', run: run('berth:extend') },
      release: { label: 'Release GPU', run: run('berth:release') },
      restart: { label: 'Save and restart', run: run('berth:restart') }
    };
    this._notices = new Notices(lab.apputils.Notification, actions, text =>
      this._classroom.has(text) ? app.commands.execute('berth:class') : showText(lab, text)
    );
    this._classroom = new Classroom(lab, app, statusBar, palette, {
      post: (path, body) => this._channel.post(path, body),
      say: (text, level) => this._notices.say(text, level, [], 8000),
      seen: () => this._notify()
    });
    const presence = new Presence(message => this._channel?.send(message));
    let since = null;
    this._channel = new Channel(lab, {
      opened: () => {
        presence.anew();
        since ??= performance.now();
        // Nobody is there for a page that comes back by itself; but the word on the first way may have been lost.
        if (performance.now() - since < FRESH) {
          presence.tell();
        }
      },
      state: state => this._changed(state),
      save: message => this._save(message),
      reload: ({ folder }) => reload(app, documents, folder),
      closed: () => this._closed()
    });
    setInterval(() => this._draw(), 1000);
  }

  _addCommands(palette) {
    const commands = {
      'berth:lease': ['Show the GPU Lease', () => this._show()],
      'berth:extend': ['Extend the GPU Lease', () => this._extend()],
      'berth:release': ['Release the GPU', () => this._release()],
      'berth:restart': ['Save and Restart the Server', () => this._restart()]
    };
    for (const [command, [label, execute]] of Object.entries(commands)) {
      const isVisible = () => Boolean(this._state.lease);
      this._app.commands.addCommand(command, { label, execute, isVisible, isEnabled: isVisible });
      palette?.addItem({ command, category: CATEGORY });
    }
  }

  get _secondsLeft() {
    return this._left(this._state.lease);
  }

  _left(part) {
    return part ? Math.max(0, part.left_seconds - (performance.now() - this._received) / 1000) : 0;
  }

  _draw() {
    const { lease, hub_away: away, gpu } = this._state;
    let trouble = '';
    if (gpu?.lost) {
      trouble = 'GPU lost';
    } else if (!this._connected) {
      trouble = 'not connected';
    } else if (away) {
      trouble = 'hub away';
    }
    this._item.update(lease, this._secondsLeft, trouble);
    this._classroom.draw(this._left(this._state.class), lease ? this._secondsLeft : null);
  }

  _changed(state) {
    const before = this._state;
    this._state = { lease: null, class: null, messages: [], ...state };
    this._received = performance.now();
    this._connected = true;
    const { lease } = this._state;
    if (lease && lease.id !== before.lease?.id) {
      this._item.announce(`${what(lease)} is leased until ${clock(lease.ends_at)}.`);
    } else if (!lease && before.lease) {
      this._item.announce('The GPU has been released.');
    }
    if ((lease === null) !== (before.lease === null)) {
      this._app.commands.notifyCommandChanged();
    }
    this._classroom.changed(this._state.class);
    this._draw();
    this._notify();
  }

  _notify() {
    this._notices.show([...this._state.messages, ...this._classroom.notices(), ...this._lostGpu()]);
  }

  /** The offer to restart; the hub may make it too, and then says it better. */
  _lostGpu() {
    const { gpu, messages } = this._state;
    if (!gpu?.lost || messages.some(message => message.actions?.includes('restart'))) {
      return [];
    }
    return [{ id: 'berth-lab:gpu-lost', level: 'error', text: gpu.problem, actions: ['restart'] }];
  }

  _closed() {
    this._connected = false;
    this._draw();
    if (this._leaving) {
      window.location.assign(this._leaving);
    }
  }

  async _save({ seconds, reason }) {
    const result = await saveAll(this._app, this._documents, seconds);
    if (reason) {
      this._notices.say(reason, 'info');
    }
    if (result.failed) {
      this._notices.say(`Not saved: ${result.unsaved.join(', ')}`, 'error');
    }
    return result;
  }

  async _show() {
    const { lease } = this._state;
    const chosen = lease ? await showLease(this._lab, lease, this._secondsLeft) : null;
    if (chosen) {
      await this._app.commands.execute(chosen);
    }
  }

  async _extend() {
    try {
      const { text, ends_at: end } = await this._channel.post('extend', { hours: null });
      this._notices.say(text || `The lease now ends at ${clock(end)}.`, 'success', [], 8000);
    } catch (error) {
      this._notices.say(error.message, 'warning');
    }
  }

  async _release() {
    const atEnd = await askRelease(this._lab, this._state.lease);
    if (atEnd) {
      await this._leave('release', { at_end: atEnd }, atEnd === 'stop');
    }
  }

  async _restart() {
    if (await askRestart(this._lab)) {
      await this._leave('restart', {}, false);
    }
  }

  /** Save, let the hub do it, and go to the hub's page about it once this server has gone. */
  async _leave(path, body, stops) {
    const { unsaved } = await saveAll(this._app, this._documents, SAVE_SECONDS);
    if (unsaved.length) {
      this._notices.say(`Nothing was done, because these cannot be saved: ${unsaved.join(', ')}`, 'error');
      return;
    }
    try {
      await this._channel.post(path, body);
    } catch (error) {
      if (error.reason === 'not_offered') {
        window.open(this._hubPage('home'), '_blank', 'noopener');
        this._notices.say('Documents are saved. Stop and start the server on the page that has opened.', 'info');
      } else {
        this._notices.say(error.message, 'warning');
      }
      return;
    }
    const option = name => this._lab.coreutils.PageConfig.getOption(name);
    const server = [option('hubServerUser') || option('hubUser'), option('hubServerName')].filter(Boolean);
    this._leaving = stops ? this._hubPage('home') : this._hubPage('spawn-pending', ...server);
    this._notices.say('Documents are saved. The hub does the rest, which takes a moment.', 'info');
    if (!this._connected) {
      this._closed();
    }
  }

  _hubPage(...parts) {
    const { PageConfig, URLExt } = this._lab.coreutils;
    const path = URLExt.join(PageConfig.getOption('hubPrefix') || '/hub/', ...parts.map(encodeURIComponent));
    return PageConfig.getOption('hubHost') + path;
  }
}
