// A server that is a seat in a class: raises hands, shows what was said and sent.

import { makeClassItem } from './class_item.js';
import { makePanel } from './class_panel.js';
import { fileText, handCommand, handNews, materialsText, messageText } from './class_words.js';

const CATEGORY = 'Class';
const SHOWN = 3; // messages as notifications, at most; the panel has all
const SEEN = 'berth-lab:class-seen';
const SAME_END = 90; // seconds between a lease's end and a class's that are one end to people

export class Classroom {
  /**
   * @param {object} lab - JupyterLab's libraries
   * @param {object} app
   * @param {{post: Function, say: Function, seen: Function}} ways - to the server, and to the user
   */
  constructor(lab, app, statusBar, palette, ways) {
    this._app = app;
    this._ways = ways;
    this._part = null;
    this._asking = false;
    this._seen = new Set(JSON.parse(sessionStorage.getItem(SEEN) || '[]'));
    const run = (command, args) => () => app.commands.execute(command, args);
    this._item = makeClassItem(lab, { open: run('berth:class'), toggle: run('berth:hand') });
    statusBar?.registerStatusItem('berth-lab:class', { item: this._item, align: 'middle', rank: 0 });
    this._panel = makePanel(lab, {
      toggle: run('berth:hand'),
      openFile: path => app.commands.execute('docmanager:open', { path }),
      openFolder: () => app.commands.execute('filebrowser:open-path', { path: this._part.materials.folder }),
      fetch: run('berth:materials')
    });
    this._addCommands(palette);
  }

  _addCommands(palette) {
    const inClass = () => Boolean(this._part);
    const hasHand = () => inClass() && !this._part.staff && (this._part.hand.raised || !this._visiting);
    const hasMaterials = () => inClass() && this._part.materials.state !== 'none';
    const commands = {
      'berth:class': [() => 'Show the Class', inClass, () => this._show()],
      'berth:hand': [
        () => (this._part ? handCommand(this._part, this._visiting) : 'Raise Hand'),
        hasHand,
        () => this._toggle()
      ],
      'berth:materials': [() => "Get the Course's Materials", hasMaterials, () => this._fetch()]
    };
    for (const [command, [label, isVisible, execute]] of Object.entries(commands)) {
      this._app.commands.addCommand(command, { label, execute, isVisible, isEnabled: isVisible });
      palette?.addItem({ command, category: CATEGORY });
    }
  }

  /** Take what the server says of the class; null for none. */
  changed(part) {
    const before = this._part;
    this._part = part;
    if (part && !this._panel.isAttached) {
      this._app.shell.add(this._panel, 'right', { rank: 50 });
    } else if (!part && this._panel.isAttached) {
      this._panel.parent = null;
    }
    if (part && before) {
      this._item.announce(this._visiting ? '' : handNews(before.hand, part.hand));
    }
    if (JSON.stringify([before?.hand, before?.materials]) !== JSON.stringify([part?.hand, part?.materials])) {
      this._app.commands.notifyCommandChanged();
    }
  }

  /** Draw with what is left of class and lease; null where there is none. */
  draw(seconds, leaseSeconds) {
    const part = this._part;
    if (part && this._panel.isVisible) {
      this._see();
    }
    const news = part ? this._told().filter(one => !this._seen.has(one.id)).length : 0;
    const viewed = { viewer: this._viewer, visiting: this._visiting, news };
    const timed = leaseSeconds === null || Math.abs(leaseSeconds - seconds) > SAME_END;
    this._item.draw(part, seconds, { ...viewed, timed });
    if (part) {
      this._panel.draw(part, seconds, viewed);
    }
  }

  /** What is to be shown as notifications now: not what was seen in the panel. */
  notices() {
    const part = this._part;
    if (!part) {
      return [];
    }
    // Berth's own take each other's place: the last one tells how long it is to the end.
    const last = part.messages.filter(message => message.kind === 'notice').at(-1);
    const said = part.messages
      .filter(message => message.kind !== 'notice' || message === last)
      .filter(message => !this._seen.has(message.id) && !(message.kind === 'visit' && message.by === this._viewer))
      .map(message => ({
        id: message.id,
        level: message.kind === 'notice' ? 'warning' : 'info',
        text: messageText(message),
        actions: [],
        at: message.at
      }));
    const sent = part.files
      .filter(file => !this._seen.has(file.id) && file.outcome !== 'same')
      .map(file => ({
        id: `${file.id}-${file.outcome}`,
        level: file.outcome === 'failed' ? 'warning' : 'info',
        text: fileText(file),
        actions: file.outcome === 'failed' ? [] : [this._opening(file.path)],
        at: file.at
      }));
    const failed = part.materials.state === 'failed';
    const trouble = { id: `materials-${part.materials.problem}`, level: 'warning', text: materialsText(part) };
    const again = { label: 'Try again', run: () => this._app.commands.execute('berth:materials') };
    return [
      ...[...said, ...sent].sort((one, other) => one.at.localeCompare(other.at)).slice(-SHOWN),
      ...(failed ? [{ ...trouble, actions: [again] }] : [])
    ];
  }

  /** Whether the panel has a text. */
  has(text) {
    const part = this._part;
    const told = part ? [...part.messages.map(messageText), ...part.files.map(fileText), materialsText(part)] : [];
    return told.includes(text);
  }

  _opening(path) {
    return { label: 'Open', run: () => this._app.commands.execute('docmanager:open', { path }) };
  }

  get _viewer() {
    return this._app.serviceManager.user?.identity?.username ?? '';
  }

  get _visiting() {
    return Boolean(this._part && this._viewer && this._viewer !== this._part.owner);
  }

  _told() {
    return [...this._part.messages, ...this._part.files];
  }

  _see() {
    const fresh = this._told().filter(one => !this._seen.has(one.id));
    if (fresh.length) {
      fresh.forEach(one => this._seen.add(one.id));
      sessionStorage.setItem(SEEN, JSON.stringify([...this._seen].slice(-500)));
      this._ways.seen();
    }
  }

  _show() {
    this._app.shell.activateById(this._panel.id);
  }

  async _toggle() {
    if (this._asking) {
      return;
    }
    this._asking = true;
    try {
      await this._ways.post('hand', { raised: !this._visiting && !this._part.hand.raised });
    } catch (error) {
      this._ways.say(error.message, 'warning');
    } finally {
      this._asking = false;
    }
  }

  async _fetch() {
    try {
      const { state, folder } = await this._ways.post('materials');
      if (state !== 'failed' && folder) {
        const what = { new: 'are', updated: 'have been brought up to date', unchanged: 'were up to date' }[state];
        const end = state === 'new' ? ` in the folder ${folder}.` : `, in the folder ${folder}.`;
        this._ways.say(`The course's materials ${what}${end}`, 'success');
      }
    } catch (error) {
      this._ways.say(error.message, 'warning');
    }
  }
}
