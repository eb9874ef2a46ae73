// Tells the server that somebody is there: a page that comes back by itself when a server starts says nothing.

const PAUSE = 15000;

export class Presence {
  constructor(send) {
    this._send = send;
    this._last = -PAUSE;
    for (const event of ['pointerdown', 'keydown', 'wheel', 'visibilitychange']) {
      document.addEventListener(event, () => this.tell(), { capture: true, passive: true });
    }
  }

  /** Somebody is there. */
  tell() {
    const now = performance.now();
    if (document.visibilityState === 'visible' && now - this._last >= PAUSE && this._send({ type: 'active' })) {
      this._last = now;
    }
  }

  /** Another server listens, which was told nothing yet. */
  anew() {
    this._last = -PAUSE;
  }
}
