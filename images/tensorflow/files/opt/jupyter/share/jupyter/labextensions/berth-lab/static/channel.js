// The way to the server: a WebSocket on which it speaks, and REST for what the user wants.

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 60000;

export class Channel {
  /**
   * @param {object} lab - JupyterLab's libraries
   * @param {{state: Function, save: Function, reload: Function, closed: Function, opened: Function}} listener
   */
  constructor(lab, listener) {
    this._coreutils = lab.coreutils;
    this._services = lab.services;
    this._settings = lab.services.ServerConnection.makeSettings();
    this._listener = listener;
    this._pause = FIRST_PAUSE;
    this._connect();
  }

  _connect() {
    const { appendToken, token, WebSocket, wsUrl } = this._settings;
    let url = this._coreutils.URLExt.join(wsUrl, 'berth', 'pages');
    if (appendToken && token) {
      url += `?token=${encodeURIComponent(token)}`;
    }
    const socket = new WebSocket(url);
    this._socket = socket;
    socket.onopen = () => this._listener.opened();
    socket.onmessage = event => this._said(socket, JSON.parse(event.data));
    socket.onclose = () => {
      this._listener.closed();
      // Tabs shall not come back all at once.
      setTimeout(() => this._connect(), this._pause * (0.75 + Math.random() / 2));
      this._pause = Math.min(this._pause * 2, LONGEST_PAUSE);
    };
  }

  async _said(socket, message) {
    this._pause = FIRST_PAUSE;
    if (message.type === 'state') {
      this._listener.state(message);
    } else if (message.type === 'reload') {
      this._listener.reload(message);
    } else if (message.type === 'save') {
      const result = await this._listener.save(message);
      if (socket.readyState === socket.OPEN) {
        socket.send(JSON.stringify({ type: 'saved', id: message.id, ...result }));
      }
    }
  }

  /** Say something to the server, if it listens. */
  send(message) {
    const listens = this._socket.readyState === this._socket.OPEN;
    if (listens) {
      this._socket.send(JSON.stringify(message));
    }
    return listens;
  }

  /** Ask the server; gives its answer, or throws an Error whose message is for the user. */
  async post(path, body = {}) {
    const url = this._coreutils.URLExt.join(this._settings.baseUrl, 'berth', path);
    let response;
    try {
      const request = { method: 'POST', body: JSON.stringify(body) };
      response = await this._services.ServerConnection.makeRequest(url, request, this._settings);
    } catch {
      throw new Error('The server does not answer. Is it running?');
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) {
      const error = new Error(answer.message || `The server answered with status ${response.status}.`);
      error.reason = answer.reason;
      throw error;
    }
    return answer;
  }
}
