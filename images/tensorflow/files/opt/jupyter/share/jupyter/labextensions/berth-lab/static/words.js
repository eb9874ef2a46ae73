// What is said about a lease, as pure functions.

/** Say how long: "2 h 05 min", "23 min", below two minutes "1:45". */
export function duration(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  if (left < 120) {
    return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
  }
  const minutes = Math.floor(left / 60);
  return minutes < 60
    ? `${minutes} min`
    : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** Say it for ears: "1 minute 45 seconds" where "1:45" would be read as a time of day. */
export function spokenDuration(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  if (left >= 120) {
    return duration(left).replace(' h ', ' hours ').replace('1 hours', '1 hour').replace(/ min$/, ' minutes');
  }
  return `${left} seconds`;
}

/** Name what is leased: "2 simulated GPUs: NVIDIA A100". */
export function what(lease) {
  const simulated = lease.simulated ? 'simulated ' : '';
  const noun = lease.gpus === 1 ? 'GPU' : 'GPUs';
  const count = lease.gpus === 1 ? '' : `${lease.gpus} `;
  const text = `${count}${simulated}${noun}`;
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}: ${lease.model}`;
}

/** The item in the status bar. */
export function short(lease, seconds) {
  const left = seconds > 0 ? `${duration(seconds)} left` : 'ending now';
  return `${what(lease)} (${lease.isolation}) · ${left}`;
}

/** The same as a sentence, for its label and tooltip. */
export function sentence(lease, seconds) {
  const left = seconds > 0 ? `${spokenDuration(seconds)} left` : 'the lease is ending now';
  return `${what(lease)}, ${left}. Show the lease.`;
}

/** When the lease ends by this browser's clock and zone. */
export function clock(iso) {
  const end = new Date(iso);
  const today = end.toDateString() === new Date().toDateString();
  const time = end.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return today ? time : `${end.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long' })}, ${time}`;
}

/** Everything about a lease, as pairs of a name and a value. */
export function facts(lease, seconds) {
  const after = lease.at_end === 'stop' ? 'the server stops' : 'the server restarts without a GPU';
  return [
    [lease.gpus === 1 ? 'GPU' : 'GPUs', lease.gpus === 1 ? lease.model : `${lease.gpus} × ${lease.model}`],
    ...(lease.simulated ? [['Simulated', 'There is no real GPU behind this lease; TensorFlow runs on the CPU.']] : []),
    ['Isolation', lease.isolation_text || lease.isolation],
    ['Ends', `${clock(lease.ends_at)}, in ${duration(seconds)}`],
    ['Then', `documents are saved, the GPU is released, and ${after}`],
    ...(lease.can_extend ? [] : [['Extension', lease.extend_reason || 'not possible at the moment']])
  ];
}
