// Tells the server that somebody is there: a page that comes back by itself when a server starts says nothing.

const PAUSE = 15000;

export function tellPresence(send) {
  let last = -PAUSE;
  const active = () => {
    const now = performance.now();
    if (document.visibilityState === 'visible' && now - last >= PAUSE && send({ type: 'active' })) {
      last = now;
    }
  };
  for (const event of ['pointerdown', 'keydown', 'wheel', 'visibilitychange']) {
    document.addEventListener(event, active, { capture: true, passive: true });
  }
  return active;
}
