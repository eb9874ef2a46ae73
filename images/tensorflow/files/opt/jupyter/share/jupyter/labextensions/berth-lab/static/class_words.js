// What is said about a class, as pure functions.

import { clock, duration } from './words.js';

/** "1st", "2nd", "3rd", "11th". */
export function ordinal(number) {
  const tens = number % 100;
  const ending = tens > 10 && tens < 14 ? 'th' : { 1: 'st', 2: 'nd', 3: 'rd' }[number % 10] || 'th';
  return `${number}${ending}`;
}

export function left(seconds) {
  return seconds > 0 ? `${duration(seconds)} left` : 'ending now';
}

/** The button that raises a hand, for its owner; `busy` while the hub is being asked. */
export function handLabel({ raised, place }) {
  if (!raised) {
    return 'Raise hand';
  }
  return place ? `Hand raised: you are ${ordinal(place)}` : 'Hand raised';
}

/** The same as a command; who visits lowers it for its owner. */
export function handCommand({ hand, owner }, visiting) {
  if (visiting) {
    return `Lower the Hand of ${owner}`;
  }
  return hand.raised ? 'Lower Hand' : 'Raise Hand';
}

/** The same for ears, said when it changes. */
export function handNews(before, { raised, place }) {
  if (!raised) {
    return before.raised ? 'Your hand is down.' : '';
  }
  if (!before.raised) {
    return place ? `Your hand is raised. You are ${ordinal(place)}.` : 'Your hand is raised.';
  }
  return place && place !== before.place ? `You are ${ordinal(place)} now.` : '';
}

/** Who sent a message, as a heading; empty where its text says it. */
export function sender(message) {
  return { broadcast: message.by, personal: `${message.by}, to you`, visit: '', notice: 'Berth' }[message.kind] ?? message.by;
}

export function messageText(message) {
  const by = sender(message);
  return by ? `${by}: ${message.text}` : message.text;
}

/** What became of a file that was sent. */
export function fileText(file) {
  switch (file.outcome) {
    case 'failed':
      return `${file.by} has sent ${file.sent_as}, but it could not be put into your home: ${file.problem}`;
    case 'beside':
      return `${file.by} has sent ${file.sent_as}. You have a file of that name, which stays; the new one is ${file.path}.`;
    case 'same':
      return `${file.by} has sent ${file.sent_as}, which you had already.`;
    default:
      return `${file.by} has sent ${file.path}.`;
  }
}

export function visitorsText(part, viewer) {
  if (viewer && viewer !== part.owner) {
    return `You are in the server of ${part.owner}, who is told.`;
  }
  const names = part.visitors;
  if (!names.length) {
    return '';
  }
  const all = names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names[0];
  return `${all} ${names.length > 1 ? 'are' : 'is'} in your server.`;
}

export function endText(part, seconds) {
  return seconds > 0 ? `Ends ${clock(part.ends_at)}, in ${duration(seconds)}` : 'Ends now';
}

export function withheldText(part) {
  const count = part.withheld || 0;
  if (!count || part.staff) {
    return '';
  }
  const files = count === 1 ? 'A file of your class waits' : `${count} files of your class wait`;
  return `${files} for your yes: say on the course's page, in the console under Classes, that staff may help you.`;
}

export function materialsText(part) {
  const { state, folder, problem } = part.materials;
  if (state === 'failed') {
    return `The course's materials could not be fetched. ${problem}`;
  }
  return ['new', 'updated', 'unchanged'].includes(state) ? `The course's materials are in the folder ${folder}.` : '';
}
