// Saving everything that is open.

/** All documents with unsaved changes, each once. */
function changed(app, documents) {
  const found = new Map();
  for (const area of ['main', 'left', 'right', 'down']) {
    for (const widget of app.shell.widgets(area)) {
      const context = documents.contextForWidget(widget);
      if (context && context.model.dirty) {
        found.set(context.path, context);
      }
    }
  }
  return found;
}

/**
 * Save all changed documents, without asking anybody.
 *
 * @returns {Promise<{saved: number, failed: number, unsaved: string[]}>}
 */
export async function saveAll(app, documents, seconds) {
  const over = new Promise(resolve => setTimeout(() => resolve(false), seconds * 1000));
  const contexts = [...changed(app, documents).values()];
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
