'use client';

import { useEffect } from 'react';
import { report } from '../report.js';

export default function Page() {
  useEffect(() => void report(), []);
  return <output></output>;
}
