// What JupyterLab loads first: a module federation container, written by hand. It offers one module, takes JupyterLab's
// own libraries from the shared scope, and brings none, so it needs no build step and no lock file.
(() => {
  const NAME = 'berth-lab';
  const LIBRARIES = [
    '@jupyterlab/apputils',
    '@jupyterlab/coreutils',
    '@jupyterlab/docmanager',
    '@jupyterlab/services',
    '@jupyterlab/statusbar',
    '@jupyterlab/ui-components',
    '@lumino/widgets'
  ];
  const PAUSES = [300, 1000, 3000]; // milliseconds; JupyterLab shows nothing before all of its extensions are there
  const here = new URL('.', document.currentScript.src);
  let scope = null;

  const newer = (left, right) => left.localeCompare(right, undefined, { numeric: true }) > 0;

  /** Take a library in the version that is loaded already, else in the newest: as webpack does for singletons. */
  async function shared(library) {
    const versions = scope[library];
    if (!versions) {
      throw new Error(`${NAME}: this JupyterLab does not share ${library}`);
    }
    const version = Object.keys(versions).reduce((best, next) =>
      versions[best].loaded || (!versions[next].loaded && newer(best, next)) ? best : next
    );
    return (await versions[version].get())();
  }

  /** Import a module, again where that fails: a browser drops what it loads when its computer changes networks. */
  async function imported(url, pauses) {
    try {
      return await import(url);
    } catch (error) {
      if (!pauses.length) {
        throw error;
      }
      await new Promise(resolve => setTimeout(resolve, pauses[0]));
      return imported(url, pauses.slice(1));
    }
  }

  async function get(module) {
    if (module !== './extension') {
      throw new Error(`Module "${module}" does not exist in container.`);
    }
    const [{ plugin }, ...libraries] = await Promise.all([
      imported(new URL('plugin.js', here).href, PAUSES),
      ...LIBRARIES.map(shared)
    ]);
    const lab = Object.assign({}, ...libraries.map((library, at) => ({ [LIBRARIES[at].split('/')[1]]: library })));
    const exports = { __esModule: true, default: plugin(lab) };
    return () => exports;
  }

  const containers = (window._JUPYTERLAB = window._JUPYTERLAB || {});
  containers[NAME] = {
    get,
    init: offered => {
      scope = offered;
    }
  };
})();
