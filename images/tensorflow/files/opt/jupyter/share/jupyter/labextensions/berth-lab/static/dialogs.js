// Questions and answers about the lease.

import { facts } from './words.js';

function body(lab, ...nodes) {
  const node = document.createElement('div');
  node.append(...nodes);
  return new lab.widgets.Widget({ node });
}

function paragraph(text) {
  const node = document.createElement('p');
  node.textContent = text;
  return node;
}

/** Show all about a lease; gives the command that was chosen, or null. */
export async function showLease(lab, lease, seconds) {
  const { Dialog, showDialog } = lab.apputils;
  const list = document.createElement('dl');
  list.className = 'berth-Lease-facts';
  for (const [name, value] of facts(lease, seconds)) {
    const term = document.createElement('dt');
    const description = document.createElement('dd');
    term.textContent = name;
    description.textContent = value;
    list.append(term, description);
  }
  const buttons = [
    Dialog.cancelButton({ label: 'Close' }),
    Dialog.warnButton({ label: 'Release GPU…', actions: ['berth:release'] })
  ];
  const defaultButton = lease.can_extend ? buttons.length : 0;
  if (lease.can_extend) {
    buttons.push(Dialog.okButton({ label: 'Extend', actions: ['berth:extend'] }));
  }
  const title = lease.simulated ? 'GPU lease (simulated)' : 'GPU lease';
  const { button } = await showDialog({ title, body: body(lab, list), buttons, defaultButton });
  return button.actions[0] || null;
}

/** Show a text that is too long for a notification. */
export async function showText(lab, text) {
  const { Dialog, showDialog } = lab.apputils;
  const whole = paragraph(text);
  whole.className = 'berth-Text';
  await showDialog({ title: 'Message', body: body(lab, whole), buttons: [Dialog.okButton({ label: 'Close' })] });
}

/** Ask what shall come after the GPU's release: "cpu", "stop", or null for no release. */
export async function askRelease(lab, lease) {
  const { Dialog, showDialog } = lab.apputils;
  const { button } = await showDialog({
    title: 'Release the GPU?',
    body: body(
      lab,
      paragraph('All documents are saved. Kernels stop, and with them what they compute.'),
      paragraph('The server then starts again without a GPU, or stops.')
    ),
    buttons: [
      Dialog.cancelButton({ label: 'Keep the GPU' }),
      Dialog.warnButton({ label: 'Release and stop', actions: ['stop'] }),
      Dialog.okButton({ label: 'Release and go on without', actions: ['cpu'] })
    ],
    defaultButton: lease?.at_end === 'stop' ? 1 : 2
  });
  return button.actions[0] || null;
}

export async function askRestart(lab) {
  const { Dialog, showDialog } = lab.apputils;
  const { button } = await showDialog({
    title: 'Restart the server?',
    body: body(lab, paragraph('All documents are saved. Kernels stop, and with them what they compute.')),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: 'Save and restart' })]
  });
  return button.accept;
}
