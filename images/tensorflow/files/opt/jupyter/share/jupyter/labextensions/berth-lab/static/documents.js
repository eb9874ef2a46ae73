// Saving everything that is open, and reading it again.

/** All documents that are open, each once. */
function opened(app, documents) {
  const found = new Map();
  for (const area of ['main', 'left', 'right', 'down']) {
    for (const widget of app.shell.widgets(area)) {
      const context = documents.contextForWidget(widget);
      if (context) {
        found.set(context.path, context);
      }
    }
  }
  return [...found.values()];
}

/**
 * Save all changed documents, without asking anybody.
 *
 * @returns {Promise<{saved: number, failed: number, unsaved: string[]}>}
 */
export async function saveAll(app, documents, seconds) {
  const over = new Promise(resolve => setTimeout(() => resolve(false), seconds * 1000));
  const contexts = opened(app, documents).filter(context => context.model.dirty);
  const results = await Promise.all(
    contexts.map(context => {
      // A file that has changed on the disk opens a question; nobody may be there to answer it in time.
      const saved = context.contentsModel?.writable === false ? false : context.save().then(() => true, () => false);
      return Promise.race([saved, over]);
    })
  );
  const unsaved = contexts.filter((context, at) => !results[at]).map(context => context.path);
  return { saved: contexts.length - unsaved.length, failed: unsaved.length, unsaved };
}

/** Read the documents of a folder again that have changed on the disk; what somebody has typed since stays as it is. */
export async function reload(app, documents, folder) {
  const inside = opened(app, documents).filter(context => context.path.startsWith(`${folder}/`));
  await Promise.all(
    inside.map(async context => {
      try {
        const found = await app.serviceManager.contents.get(context.path, { content: false });
        if (!context.model.dirty && found.last_modified !== context.contentsModel?.last_modified) {
          await context.revert();
        }
      } catch {
        // It is not there any more, which JupyterLab says when somebody saves it.
      }
    })
  );
}
