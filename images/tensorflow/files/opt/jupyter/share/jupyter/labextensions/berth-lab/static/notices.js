// The hub's messages as notifications, each shown once and taken back when the hub takes it back.

const MEMORY = 'berth-lab:dismissed';
const SHOWN = 140; // characters of a text, which is as many as JupyterLab shows
const LEVELS = ['info', 'success', 'warning', 'error'];

export class Notices {
  /**
   * @param {object} notification - JupyterLab's Notification
   * @param {Object<string, {label: string, run: Function}>} actions - by the names that the hub gives them
   * @param {Function} read - shows a text that is too long for a notification
   */
  constructor(notification, actions, read) {
    this._notification = notification;
    this._actions = actions;
    this._read = read;
    this._shown = new Map();
    this._dismissed = new Set(JSON.parse(sessionStorage.getItem(MEMORY) || '[]'));
    notification.manager.changed.connect((_, change) => {
      if (change.type === 'removed') {
        this._gone(change.notification.id);
      }
    });
  }

  /** Show these messages and no others. */
  show(messages) {
    const wanted = new Set(messages.map(message => message.id));
    for (const [id, shown] of [...this._shown]) {
      if (!wanted.has(id)) {
        this._shown.delete(id);
        this._notification.dismiss(shown);
      }
    }
    for (const message of messages) {
      if (!this._shown.has(message.id) && !this._dismissed.has(message.id)) {
        this._shown.set(message.id, this.say(message.text, message.level, message.actions));
      }
    }
  }

  /** Show a text of our own, with actions by their names or of its own; gives the notification's id. */
  say(text, level, actions = [], autoClose = false) {
    const whole = text.length > SHOWN ? [{ label: 'Read it all', run: () => this._read(text) }] : [];
    const buttons = [...actions, ...whole]
      .map(action => (typeof action === 'string' ? this._actions[action] : action))
      .filter(Boolean)
      .map((action, at) => ({
        label: action.label,
        displayType: at === 0 ? 'accent' : 'default',
        callback: () => action.run()
      }));
    return this._notification.emit(text, LEVELS.includes(level) ? level : 'default', { autoClose, actions: buttons });
  }

  /** Remember what the user has put away, over a reload of the page. */
  _gone(notification) {
    for (const [id, shown] of this._shown) {
      if (shown === notification) {
        this._shown.delete(id);
        this._dismissed.add(id);
        sessionStorage.setItem(MEMORY, JSON.stringify([...this._dismissed].slice(-200)));
      }
    }
  }
}
